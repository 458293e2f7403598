"""The model card: `README.md` of a bundle, generated from its manifest and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retort.markdown import table
from retort.models.manifest import Agreement, Figure, Manifest, Parity

CARD_FILE = "README.md"


def render_card(manifest: Manifest) -> str:
    """Render the card: what the student is, how good, from what data, under which licences."""
    sections = [
        _head(manifest),
        _score(manifest),
        _quality(manifest.quality),
        _agreement(manifest.agreement),
        _parity(manifest.parity, "student" if manifest.activation is None else "model"),
        _data(manifest),
        f"""## Use

```sh
retort serve --bundle {manifest.name}
retort score --bundle {manifest.name} "how tall is the eiffel tower" "The tower is 330 metres tall."
```""",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(manifest: Manifest) -> str:
    size, rule = manifest.architecture, manifest.truncation
    one = size.encoders == 1
    small = "A small cross-encoder" if manifest.activation is None else "A cross-encoder"
    what = f"{small} that says" if one else "An ensemble of teachers, whose mean says"
    several = "" if one else f"{size.encoders}, together "
    facts = [
        ("version", f"{manifest.version}, made {manifest.created}"),
        (
            "encoder" if one else "encoders",
            f"{several}{size.layers} layers, {size.width} wide, {size.attention_heads} heads",
        ),
        ("vocabulary", f"{size.vocabulary:,} tokens"),
        ("longest pair", f"{rule.max_length} tokens, of the query at most {rule.max_query_tokens}"),
        ("weights", f"stored as {manifest.precision.storage}"),
        ("methods", ", ".join(manifest.methods) or "none named"),
    ]
    return f"""# {manifest.name}

{what} how likely a passage answers a query.
This page is generated from `manifest.json`.

{_table(("what", "value"), facts)}"""


def _score(manifest: Manifest) -> str:
    default = "the labels" if manifest.architecture.encoders == 1 else "a model of its own"
    if manifest.activation is not None:
        default = "what its makers had"
    rows = [(head.name, head.kind, head.teacher or default) for head in manifest.heads]
    return f"""## What a score is

{_meaning(manifest)}

{_table(("head", "kind", "learned from"), rows)}"""


def _meaning(manifest: Manifest) -> str:
    known, lists = manifest.calibration, manifest.answerability
    if known is None and manifest.activation is not None:
        text = f"""`sigmoid(logit)`, from 0 to 1, higher where the passage answers the query better.
It was not calibrated, so it is no probability; `retort calibrate` makes it one, on pairs of your
own. The logit is the model's one output; of two, the second less the first; of more, the log-odds
of the class that was named. `CrossEncoder.predict` of sentence-transformers applies
{_activation(manifest.activation)}"""
    elif known is None:
        text = """The mean over the heads of `sigmoid(logit)`: the probability that the passage
answers the query. `spread` is the standard deviation over the heads."""
    else:
        text = f"""The mean over the heads of `sigmoid(logit)`, made a probability that the passage
answers the query: its log-odds times {known.gain:.3f}, {known.shift:+.3f}. That was fitted on
validation pairs and keeps every order. `spread` is the standard deviation over the heads, each
mapped likewise. Where a larger or a smaller share of pairs is relevant than there, scores are too
low or too high; `retort calibrate` fits them to pairs of your own."""
    if lists is None:
        return text
    return f"""{text}

`answerable` is the probability that any passage of a list answers. Of one passage it is the score;
of n passages, with the log-odds z1 and z2 of the two best scores, its log-odds are
`{lists.intercept:.3f} {lists.best:+.3f} z1 {lists.second:+.3f} z2 {lists.count:+.3f} ln(n)`."""


def _activation(name: str) -> str:
    if name == "Sigmoid":
        return "a sigmoid too: it gives this score."
    if name == "Identity":
        return "nothing: of one output it gives the logit, which is the log-odds of this score."
    return f"{name} to it: it gives the same order on another scale."


def _quality(quality: dict[str, Figure]) -> str:
    rows = [
        (
            name,
            f"{figure.value:.4g}",
            _interval(figure.low, figure.high),
            str(figure.n or ""),
            figure.note,
        )
        for name, figure in quality.items()
    ]
    header = ("figure", "value", "95% interval", "n", "note")
    return f"## How good it is\n\n{_table(header, rows)}" if rows else ""


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return ""
    interval = _interval(agreement.low, agreement.high)
    return (
        "## How often it agrees with its teacher\n\n"
        f"On {agreement.top1:.1%} of {agreement.queries:,} held-out queries it puts the same "
        f"passage first as `{agreement.teacher}` does"
        + (f" (95% interval {interval})." if interval else ".")
    )


def _parity(parity: Parity | None, original: str) -> str:
    if parity is None:
        return ""
    bounds = parity.bounds
    difference = f"{parity.max_score_difference:.2g}"
    rows = [
        ("top-1 agreement", f"{parity.top1_agreement:.4f}", f"at least {bounds.top1_agreement}"),
        ("Kendall tau", f"{parity.kendall_tau:.4f}", f"at least {bounds.kendall_tau}"),
        ("largest score difference", difference, f"at most {bounds.max_score_difference}"),
        ("change in nDCG", f"{parity.ndcg_change:+.2g}", f"within ±{bounds.ndcg_change}"),
    ]
    return f"""## How close the graph is to the PyTorch {original}

On {parity.pairs:,} held-out pairs of {parity.queries:,} queries.

{_table(("figure", "value", "bound"), rows)}"""


def _data(manifest: Manifest) -> str:
    rows = [(source.name, source.licence) for source in manifest.data]
    return f"## What it learned from\n\n{_table(('data', 'licence'), rows)}" if rows else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(table(header, rows))
