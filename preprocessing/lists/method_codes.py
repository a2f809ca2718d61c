"""The list code of every method that data sets, benchmarks and their label dictionaries name.

Names are compared without case, blanks and punctuation, and without the words of ``_QUALIFIERS`` around them:
FF-DF, simswap_Fake, simswap_cdf and SimSwap are found. Where two data sets use one name, their codes agree.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from datasets.readers.ffpp import METHOD_CODES
from models.label_tree import FFPP
from utils.cli import UserError
from utils.files import text_file

IDENTITY = METHOD_CODES["Deepfakes"]
EXPRESSION = METHOD_CODES["Face2Face"]
UNKNOWN_FAKE = next(iter(FFPP.partial))

# Code -> group of methods -> method: its other names.
GROUPS: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    IDENTITY: {
        "FaceForensics++, swaps": {
            "Deepfakes": ("DF",),
            "FaceSwap": ("FS",),
            "FaceShifter": ("FH", "SH", "FSh"),
            "DeepFakeDetection": ("DFD",),
        },
        "other data sets of swaps": {
            "Celeb-DF": ("CDF", "CelebDFv1", "CelebDFv2", "FakeCDF", "Celeb-synthesis"),
            "DFDC": (),
            "DFDCP": ("DFDC-preview", "DFDCP_FakeA", "DFDCP_FakeB"),
            "DeeperForensics-1.0": ("DeeperForensics", "DF-1.0", "end_to_end"),
            "UADFV": (),
            "roop": (),
        },
        "DF40, face swapping": {
            "FSGAN": (),
            "FaceSwap": (),
            "SimSwap": (),
            "InSwapper": ("inswap",),
            "BlendFace": (),
            "UniFace": (),
            "MobileSwap": ("MobileFaceSwap",),
            "e4s": (),
            "FaceDancer": (),
            "DeepFaceLab": (),
            "FSAll": (),
        },
        "Celeb-DF++, face swap": {"GHOST": (), "HifiFace": ()},
    },
    EXPRESSION: {
        "FaceForensics++, reenactment": {"Face2Face": ("F2F",), "NeuralTextures": ("NT",)},
        "DF40, face reenactment": {
            "FOMM": (),
            "FS_vid2vid": ("facevid2vid",),
            "Wav2Lip": (),
            "MRAA": (),
            "OneShot": ("one_shot_free",),
            "PIRender": (),
            "TPSM": ("TPSMM",),
            "LIA": (),
            "DaGAN": ("danet",),
            "SadTalker": (),
            "MCNet": (),
            "HyperReenact": (),
            "HeyGen": (),
            "FRAll": (),
        },
        "Celeb-DF++, face reenactment and talking face": {
            "FSRT": (),
            "LivePortrait": (),
            "AniTalker": (),
            "EchoMimic": (),
            "EDTalk": (),
            "FLOAT": (),
            "IP_LAP": (),
            "Real3DPortrait": (),
        },
    },
    UNKNOWN_FAKE: {
        "DF40, entire face synthesis": {
            "VQGAN": (),
            "StyleGAN2": (),
            "StyleGAN3": (),
            "StyleGAN-XL": (),
            "SD-2.1": ("SD-1.5",),
            "DDPM": ("ddim",),
            "RDDM": (),
            "PixArt-alpha": ("PixArt",),
            "DiT-XL/2": ("DiT",),
            "SiT-XL/2": ("SiT",),
            "MidJourney6": ("MidJourney", "MidJounery6"),
            "WhichisReal": ("whichfaceisreal",),
            "EFSAll": (),
        },
        "DF40, face edit": {
            "CollabDiff": ("Collaborative_Diffusion",),
            "e4e": (),
            "StarGAN": (),
            "StarGANv2": (),
            "StyleCLIP": (),
        },
        "DF40, other labels": {
            "DF40_train": (),
            "dalle2_face": (),
            **{name: () for name in ("adm", "biggan", "glide", "sdv4", "sdv5", "vqdm", "wukong")},
        },
        "fakes without a method": {"fake": ()},
    },
}
_QUALIFIERS = {"ff", "cdf", "fake"}  # FF-DF, simswap_ff, simswap_cdf, simswap_Fake


def _keys(name: str) -> list[str]:
    """The forms in which a name is looked up, the most exact first: FF-DF -> [ffdf, df]."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    kept = [word for word in words if word not in _QUALIFIERS]
    return list(dict.fromkeys(["".join(words), "".join(kept) or "fake"]))


_NAMED = {  # key of each name -> method, list code
    _keys(name)[0]: (method, code)
    for code, groups in GROUPS.items()
    for methods in groups.values()
    for method, others in methods.items()
    for name in (method, *others)
}
_CODES = {key: code for key, (_, code) in _NAMED.items()}


def known_method(name: str) -> str | None:
    """The method of a name, as it is called in ``GROUPS``; None if it is none, or only says that it is a fake."""
    return next((_NAMED[key][0] for key in _keys(name) if key in _NAMED and key != "fake"), None)


def codes_of_fakes(methods: Iterable[str], more: dict[str, str]) -> dict[str, str]:
    """Method -> list code of the methods of fake images; "" is a fake without a method.

    more: Further codes, see ``read_codes``. Raises UserError that names the methods without a code and how many
    images they have.
    """
    numbers = Counter(methods)
    table = _CODES | more
    found = {method: next((table[key] for key in _keys(method) if key in table), "") for method in numbers}
    if unknown := [method for method, code in found.items() if not code]:
        named = ", ".join(f"{method} ({numbers[method]} images)" for method in unknown)
        advice = f"give --codes FILE with lines such as `{unknown[0]} {IDENTITY}` (codes: docs/data.md)"
        raise UserError(f"no list code is known for the method {named}; {advice}")
    return found


def read_codes(path: Path | None) -> dict[str, str]:
    """Codes of the user's own methods: a file of lines `method code`, # begins a comment. They precede the table.

    Raises UserError (with file:line) for another line, or a code that is none of a fake of the FF++ tree.
    """
    if path is None:
        return {}
    try:
        lines = text_file(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); it must be UTF-8 text, lines `method code`") from error
    codes = {}
    for number, line in enumerate(lines, start=1):
        method, _, code = line.partition("#")[0].strip().rpartition(" ")
        if not (method or code):
            continue
        try:
            fake = bool(method.strip()) and FFPP.encode(code)[0] == 1
        except UserError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        if not fake:
            raise UserError(
                f"{path}:{number}: expected `method code` with the code of a fake, got {line.strip()[:80]!r}"
            )
        codes[_keys(method)[0]] = code
    return codes
