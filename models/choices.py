"""The names that command lines choose from, in a file that does not need PyTorch."""

# --VM name -> open_clip configuration. OpenAI's weights were trained with QuickGELU.
OPEN_CLIP_CONFIGS = {
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "RN50": "RN50-quickgelu",
    "RN101": "RN101-quickgelu",
}
MODEL_NAMES = (*OPEN_CLIP_CONFIGS, "demo")
SCORES = ("product", "cosine")
TOWERS = ("text", "image")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
LEVELS = ("global", "local")  # of a label tree, below its root
TASKS = ("binary", "global", "local")
LOSSES = ("fidelity", "bce", "nll")
WEIGHTINGS = ("equal", "uncert", "dwa", "autol")
CALIBRATIONS = ("temperature", "platt", "isotonic")
GRAD_METHODS = ("none", "graddrop", "pcgrad", "cagrad")
TRACKERS = ("tensorboard", "wandb", "trackio", "none")
