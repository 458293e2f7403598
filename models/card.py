"""The model card: `README.md` of a bundle, generated from its manifest and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retort.models.manifest import Agreement, Architecture, Figure, Manifest, Parity

CARD_FILE = "README.md"


def render_card(manifest: Manifest) -> str:
    """Render the card: what the student is, how good, from what data, under which licences."""
    sections = [
        _head(manifest),
        _score(manifest),
        _quality(manifest.quality),
        _agreement(manifest.agreement),
        _parity(manifest.parity),
        _data(manifest),
        _use(manifest.name),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(manifest: Manifest) -> str:
    size = manifest.architecture
    rule = manifest.truncation
    what = (
        "A small cross-encoder that says"
        if size.encoders == 1
        else "An ensemble of teachers, whose mean says"
    )
    facts = [
        ("version", f"{manifest.version}, made {manifest.created}"),
        ("encoder" if size.encoders == 1 else "encoders", _size(size)),
        ("vocabulary", f"{size.vocabulary:,} tokens"),
        ("longest pair", f"{rule.max_length} tokens, of the query at most {rule.max_query_tokens}"),
        ("weights", f"stored as {manifest.precision.storage}"),
        ("methods", ", ".join(manifest.methods) or "none named"),
    ]
    return "\n".join(
        [
            f"# {manifest.name}",
            "",
            f"{what} how likely a passage answers a query.",
            "This page is generated from `manifest.json`.",
            "",
            *_table(("what", "value"), facts),
        ]
    )


def _size(size: Architecture) -> str:
    several = f"{size.encoders}, together " if size.encoders > 1 else ""
    return f"{several}{size.layers} layers, {size.width} wide, {size.attention_heads} heads"


def _score(manifest: Manifest) -> str:
    untold = "the labels" if manifest.architecture.encoders == 1 else "a model of its own"
    rows = [(head.name, head.kind, head.teacher or untold) for head in manifest.heads]
    return "\n".join(
        [
            "## What a score is",
            "",
            "The mean over the heads of `sigmoid(logit)`: the probability that the passage answers",
            "the query. `spread` is the standard deviation over the heads.",
            "",
            *_table(("head", "kind", "learned from"), rows),
        ]
    )


def _quality(quality: dict[str, Figure]) -> str:
    if not quality:
        return ""
    rows = [
        (name, f"{figure.value:.4g}", _interval(figure), str(figure.n or ""), figure.note)
        for name, figure in quality.items()
    ]
    header = ("figure", "value", "95% interval", "n", "note")
    return "\n".join(["## How good it is", "", *_table(header, rows)])


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.low:.4g} to {figure.high:.4g}"


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return ""
    interval = _interval(Figure(value=agreement.top1, low=agreement.low, high=agreement.high))
    return "\n".join(
        [
            "## How often it agrees with its teacher",
            "",
            f"On {agreement.top1:.1%} of {agreement.queries:,} held-out queries it puts the same "
            f"passage first as `{agreement.teacher}` does"
            + (f" (95% interval {interval})." if interval else "."),
        ]
    )


def _parity(parity: Parity | None) -> str:
    if parity is None:
        return ""
    bounds = parity.bounds
    rows = [
        ("top-1 agreement", f"{parity.top1_agreement:.4f}", f"at least {bounds.top1_agreement}"),
        ("Kendall tau", f"{parity.kendall_tau:.4f}", f"at least {bounds.kendall_tau}"),
        (
            "largest score difference",
            f"{parity.max_score_difference:.2g}",
            f"at most {bounds.max_score_difference}",
        ),
        (
            "change in nDCG",
            f"{parity.ndcg_change:+.2g}",
            f"within ±{bounds.ndcg_change}",
        ),
    ]
    return "\n".join(
        [
            "## How close the graph is to the PyTorch student",
            "",
            f"On {parity.pairs:,} held-out pairs of {parity.queries:,} queries.",
            "",
            *_table(("figure", "value", "bound"), rows),
        ]
    )


def _data(manifest: Manifest) -> str:
    if not manifest.data:
        return ""
    rows = [(source.name, source.licence) for source in manifest.data]
    return "\n".join(["## What it learned from", "", *_table(("data", "licence"), rows)])


def _use(name: str) -> str:
    return "\n".join(
        [
            "## Use",
            "",
            "```sh",
            f"retort serve --bundle {name}",
            f'retort score --bundle {name} "how tall is the eiffel tower" '
            '"The tower is 330 metres tall."',
            "```",
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
