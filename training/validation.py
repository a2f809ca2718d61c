"""The validation pass after an epoch."""

import numpy as np
import torch

from datasets.records import node_vector
from evaluation.metrics import auc, best_threshold, video_scores
from evaluation.scoring import score_loader
from models.losses import fidelity_losses
from training.data import TrainingData, refuse_unreadable
from training.trainer import Trainer
from utils.cli import UserError
from utils.distributed import Reductions
from utils.progress import progress_bar


def validate(trainer: Trainer, data: TrainingData) -> dict:
    """Score the validation list.

    Returns:
        val_frame_auc and val_video_auc (None for a list without videos), 0 to 1; val_loss: the fidelity loss summed
        over the tasks, whatever --loss is; threshold: that of the best balanced accuracy.

    Raises UserError if an image cannot be read, or a score is not finite.
    """
    records, settings = data.val_set.records, trainer.settings
    vectors = torch.from_numpy(np.stack([node_vector(record.code) for record in records]))  # [N, nodes]
    marginals = np.zeros(vectors.shape, dtype=np.float32)
    logits = np.zeros(len(vectors))
    loader = data.validation_batches(trainer.model.image_size)
    batches = score_loader(trainer.model, loader, settings.precision)
    for batch in progress_bar(batches, desc="validating", total=len(loader), leave=False):
        refuse_unreadable(batch.unreadable, data.val_set, data.args.txt_path_val)
        marginals[batch.indices], logits[batch.indices] = batch.marginals, batch.logit_fake
    reductions = Reductions()
    for values in (marginals, logits):  # an image is scored in one process; the others have 0
        reductions.start(torch.from_numpy(values))
    reductions.finish()
    if not np.isfinite(logits).all():
        raise UserError("the model's scores on the validation set are not finite; lower --initial_lr")
    losses = fidelity_losses(torch.from_numpy(marginals), vectors, trainer.model.tree, settings.unknown)
    labels = vectors[:, 0].numpy().astype(int)
    rows = [
        {"video": record.video, "label": label, "p_fake": p}
        for record, label, p in zip(records, labels, marginals[:, 0].astype(float), strict=True)
    ]
    _, video_labels, video_p = video_scores(rows)
    return {
        "val_frame_auc": auc(labels, logits),
        "val_video_auc": None if data.val_set.image_level else auc(video_labels, video_p),
        "val_loss": float(losses.sum()),
        "threshold": best_threshold(video_labels, video_p),
    }
