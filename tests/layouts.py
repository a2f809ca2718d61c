"""The test sets in the official layouts, small: folders of golden crops linked to where each data set has its crops."""

import json
from pathlib import Path

from datasets.readers.ffpp import METHOD_CODES, compression_dir

PAIRS = [["000", "001"], ["002", "003"]]
REALS = ["000", "001", "002", "003"]
FAKES = ["000_001", "001_000", "002_003", "003_002"]
FFSC_REAL, FFSC_AGE = "000000000000", "110000100001"


class Layouts:
    """Makes data sets under ``root`` from the golden crops; every method returns ``root``."""

    def __init__(self, root: Path, crops: Path) -> None:
        self.root = root
        self.videos = [sorted((crops / name).iterdir()) for name in ("RealCDF", "FakeCDF")]

    def link(self, folder: Path, label: int, i: int) -> None:
        """Make ``folder`` the crops of one of the golden videos of a class."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(self.videos[label][i % 3])

    def ffpp(self, compression: str = "c23", methods: tuple[str, ...] = ("real", *METHOD_CODES)) -> Path:
        (self.root / "FF++").mkdir(parents=True, exist_ok=True)
        (self.root / "FF++" / "test.json").write_text(json.dumps(PAIRS))
        for method in methods:
            for i, video in enumerate(REALS if method == "real" else FAKES):
                faces = compression_dir(self.root, method, compression) / "faces"
                self.link(faces / video, int(method != "real"), i)
        return self.root

    def faceshifter(self, place: str = "FSh/c23/faces") -> Path:
        for i, video in enumerate([*FAKES, "700_701"]):  # the last is no test video
            self.link(self.root / place / video, 1, i)
        return self.root

    def deeperforensics(self, place: str = "DF-1.0/faces/end_to_end") -> Path:
        for i, video in enumerate(["000_W001", "001_M101", "003_W001", "700_W001", "701_W001", "702_M101"]):
            self.link(self.root / place / video, 1, i)
        return self.root

    def dfdc(self) -> Path:
        rows = ["filename,label"]
        for label in (0, 1):
            for i in range(3):
                rows.append(f"{'ab'[label]}{i}.mp4,{label}")
                self.link(self.root / "DFDC" / "faces" / f"{'ab'[label]}{i}", label, i)
        (self.root / "DFDC" / "labels.csv").write_text("\n".join([*rows, "nothing.mp4,0"]) + "\n")
        return self.root

    def celeb_df(self) -> Path:
        for label, name in enumerate(("RealCDF", "FakeCDF")):
            for video in self.videos[label]:
                (self.root / "CDF" / "faces" / name).mkdir(parents=True, exist_ok=True)
                (self.root / "CDF" / "faces" / name / video.name).symlink_to(video)
        return self.root

    def images(self, name: str, codes: tuple[str, str] = ("0", "1")) -> Path:
        """An image set's list, <name>/<name>test.txt, of images below <name>/images, both classes in one folder."""
        lines = []
        for label, code in enumerate(codes):
            for image in sorted(path for video in self.videos[label] for path in video.iterdir()):
                target = self.root / name / "images" / f"{image.parent.name}_{image.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(image)
                lines.append(f"images/{target.name} {code}")
        (self.root / name / f"{name}test.txt").write_text("\n".join(lines) + "\n")
        return self.root

    def ffsc_folders(self) -> Path:
        for i, folder in enumerate(("Real/x", "simswap/x", "Protocol-1/FNeVR/x")):
            self.link(self.root / "FFSC" / "Test" / folder, int(i > 0), i)
        return self.root
