"""The test sets by name. To add one, write datasets/readers/<name>.py and add its line here."""

from datasets.data_set_format import PROTOCOLS, DataSetFormat, ReadOptions
from datasets.readers import (
    celeb_df,
    csv_list,
    deeperforensics,
    deepfakebench_json,
    dfdc,
    diffusion,
    faceshifter,
    ffpp,
    ffsc,
    image_folder,
    txt_list,
)
from datasets.records import DataSet

__all__ = ["PROTOCOLS", "TEST_SETS", "DataSetFormat", "ReadOptions", "frames_per_video"]

_FORMATS = (
    ffpp.FORMAT,
    celeb_df.FORMAT,
    faceshifter.FORMAT,
    deeperforensics.FORMAT,
    dfdc.FORMAT,
    ffsc.FORMAT,
    diffusion.DIFF,
    diffusion.DIFFUSION_FACE,
    txt_list.FORMAT,
    deepfakebench_json.FORMAT,
    image_folder.FORMAT,
    csv_list.FORMAT,
)
TEST_SETS: dict[str, DataSetFormat] = {data_set.name: data_set for data_set in _FORMATS}


def frames_per_video(name: str, data: DataSet, options: ReadOptions) -> int | None:
    """How many frames of a video are taken at most; None for image sets and for all frames of a list."""
    if data.image_level:
        return None
    return options.n_frames if TEST_SETS[name].all_frames else options.frames_per_video
