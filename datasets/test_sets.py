"""The test sets by their name for --dataset. To add one, write datasets/readers/<name>.py and add its line here."""

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
    parquet,
    txt_list,
)

__all__ = ["PROTOCOLS", "TEST_SETS", "ReadOptions"]

TEST_SETS: dict[str, DataSetFormat] = {
    "FFpp": ffpp.FORMAT,
    "DFD": ffpp.DFD_FORMAT,
    "CDF": celeb_df.data_set_format(celeb_df.V2),
    "CDFv1": celeb_df.data_set_format(celeb_df.V1),
    "CDFpp": celeb_df.data_set_format(celeb_df.PLUS),
    "FSh": faceshifter.FORMAT,
    "Deeper": deeperforensics.FORMAT,
    "DFDC": dfdc.FORMAT,
    "FFSC": ffsc.FORMAT,
    "DiFF": diffusion.data_set_format("DiFF"),
    "DiffusionFace": diffusion.data_set_format("DiffusionFace"),
    "list": txt_list.FORMAT,
    "json": deepfakebench_json.FORMAT,
    "folder": image_folder.FORMAT,
    "csv": csv_list.FORMAT,
    "parquet": parquet.FORMAT,
}
