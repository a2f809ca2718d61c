"""Print a table of open_clip's models: computed by our passes, by open_clip's own modules, or refused and why."""

import collections
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import open_clip

from models.joint_embedding import architecture
from models.towers import packs_prompts, passes_image, refusal


def main() -> None:
    counts: collections.Counter[str] = collections.Counter()
    print("| model of open_clip | prompts | images | weights in open_clip |\n|---|---|---|---|")
    for name in open_clip.list_models():
        config = architecture(name)
        tags = len(open_clip.list_pretrained_tags_by_model(name))
        if reason := refusal(config):
            counts["refused"] += 1
            print(f"| {name} | refused: {reason} | | {tags} |")
            continue
        by = ["our pass" if ours else "own modules" for ours in (packs_prompts(config), passes_image(config))]
        counts[f"prompts by {by[0]}, images by {by[1]}"] += 1
        print(f"| {name} | {by[0]} | {by[1]} | {tags} |")
    print(*(f"\n{count}: {kind}" for kind, count in counts.most_common()), sep="", file=sys.stderr)


if __name__ == "__main__":
    main()
