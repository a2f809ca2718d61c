"""High dynamic range as the standard range that detectors and models know."""

import functools

import numpy as np

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
TRANSFERS = (PQ, HLG)
_WHITE = 203.0  # cd/m^2 of a white page, BT.2408
_HLG_PEAK = 1000.0  # cd/m^2, of the nominal display of BT.2100
# Linear BT.2020 -> linear BT.709, BT.2087.
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_KNEE = 0.8  # of white; what is brighter is compressed, so that highlights keep their drawing


def to_sdr(picture: np.ndarray, transfer: int) -> np.ndarray:
    """Tone-map a picture.

    White (203 cd/m^2, BT.2408) becomes nearly the brightest value; what is brighter is compressed above a knee.

    Args:
        picture: [H, W, 3] uint16, RGB in BT.2020 as it is stored, full range.
        transfer: PQ or HLG.

    Returns:
        [H, W, 3] uint8 RGB, BT.709.
    """
    light = _linear(transfer)[picture]
    if transfer == HLG:  # BT.2100: the display's brightness grows with the scene's to the power 1.2
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= _HLG_PEAK / _WHITE * np.maximum(luminance, 1e-6)[..., None] ** np.float32(0.2)
    light = np.maximum(light @ _TO_709.T, 0)
    brightest = light.max(axis=2, keepdims=True)  # one factor for a pixel keeps its hue
    light *= _compressed(brightest) / np.maximum(brightest, 1e-6)
    return np.rint(255 * np.clip(light, 0, 1) ** np.float32(1 / 2.2)).astype(np.uint8)


def _compressed(light: np.ndarray) -> np.ndarray:
    """The same below the knee; above it, to 1 at the utmost."""
    room = 1 - _KNEE
    above = np.maximum(light - _KNEE, 0)
    return np.where(light > _KNEE, _KNEE + room * above / (above + room), light)


@functools.cache
def _linear(transfer: int) -> np.ndarray:
    """Stored value (65536 of them) -> light: of PQ in units of white, of HLG the scene's, 0 to 1; BT.2100."""
    x = np.linspace(0, 1, 65536)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = x ** (1 / m2)
        light = 10000 / _WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(x <= 0.5, x**2 / 3, (np.exp((x - c) / a) + b) / 12)
    return light.astype(np.float32)
