"""calibration.json: a temperature fitted on the predictions of a validation set."""

from pathlib import Path

from evaluation.calibration import calibration_report
from evaluation.number_text import percent
from evaluation.prediction_table import Predictions
from utils.cli import UserError
from utils.files import file_sha256, write_json


def calibrate(predictions: Predictions, folder: Path) -> list[str]:
    """Fit a temperature on all frames, each with the same weight, and write calibration.json into the folder.

    Returns:
        Lines that say what was found.

    Raises:
        UserError: The predictions have no log-odds, or no temperature is best.
    """
    if predictions.logits is None:
        raise UserError(f"{predictions.source} has no columns p_fake and logit_fake; calibration needs the log-odds")
    try:
        report = calibration_report(predictions.labels, predictions.logits)
    except UserError as error:
        raise UserError(f"{predictions.source}: {error}") from error
    report |= {"frames": len(predictions.labels), "videos": len(predictions.video_ids)}
    report |= {"source": predictions.source, "sha256": file_sha256(Path(predictions.source))}
    report["checkpoint"] = predictions.checkpoint
    write_json(folder / "calibration.json", report)
    counted = "images" if predictions.units == "images" else f"frames of {report['videos']} videos"
    lines = [
        f"temperature {report['temperature']:.4f} from {report['frames']} {counted}: "
        f"ECE {percent(report['ece_before'])} -> {percent(report['ece_after'])}%, "
        f"NLL {report['nll_before']:.4f} -> {report['nll_after']:.4f}; {folder / 'calibration.json'}"
    ]
    if report["ece_after"] - report["ece_before"] >= 5e-5:  # 0.01 in the line above
        lines.append(
            "The ECE rises although the NLL falls: no temperature fixes the error of these scores (for example all too "
            "high or all too low), so do not use p_fake_calibrated as a probability."
        )
    return lines
