"""`eddyline-runtime learn-words`: a trained world learns to read words it was not trained on."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from eddyline_runtime.arguments import device_name, positive, seed_number
from eddyline_runtime.files import make_folder
from eddyline_runtime.precision import check_device
from eddyline_runtime.training.words import WordsPlan, learn_words, read_pairs, sample_texts, whole_pairs
from eddyline_runtime.weights import load_world, save_world, text_encoder_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `eddyline-runtime learn-words`."""
    plan = WordsPlan()
    parser.add_argument("--model", default="diorama", help="a shipped world's name, or a world's folder")
    parser.add_argument(
        "--pairs",
        required=True,
        type=Path,
        metavar="FILE",
        help='JSON lines {"words": what somebody may type, "plain": the same in words the world was trained on}',
    )
    parser.add_argument("--out", required=True, type=Path, help="the folder of the world that has learned them")
    parser.add_argument("--steps", type=positive, default=plan.steps, help=f"train steps (default: {plan.steps})")
    parser.add_argument("--seed", type=seed_number, default=0, help="0 or more; the same seed gives the same weights")
    parser.add_argument(
        "--device",
        type=device_name,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda, cuda:1, ... (default: cuda if there is a GPU)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train the refiner, write the world; returns the exit code.

    Raises:
        EddylineError: the world or the pairs are unusable, or the folder cannot be written; each says what to do.
    """
    check_device(arguments.device)
    pairs = read_pairs(arguments.pairs)
    out: Path = arguments.out
    make_folder(out)
    world = load_world(arguments.model, device=arguments.device, dtype=torch.float32)
    encoder = text_encoder_for(world.card)
    given, pairs = len(pairs), whole_pairs(pairs, encoder)
    if len(pairs) < given:
        print(f"{given - len(pairs)} of {given} pairs are left out: the text encoder would cut them", file=sys.stderr)
    model, report = learn_words(
        world.model,
        encoder,
        pairs,
        plan=WordsPlan(steps=arguments.steps),
        seed=arguments.seed,
        device=arguments.device,
    )
    facts = {
        "words_pairs": str(len(pairs)),
        "words_steps": str(arguments.steps),
        "words_distance": f"{report.distance_before:.3f} -> {report.distance:.3f}",
    }
    card = replace(world.card, model=model.config, training={**world.card.training, **facts})
    save_world(out, card, model=model, codec=world.codec, learned=sample_texts(pairs, encoder, seed=arguments.seed))
    print(json.dumps({"world": str(out), "pairs": len(pairs), **asdict(report)}))
    return 0
