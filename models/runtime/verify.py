"""Verifying a bundle: its files, its hashes, and its golden scores on every backend there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendInfo, BackendUnavailable
from retort.models.runtime.choose import candidates, load_compared
from retort.models.runtime.golden import GoldenReport
from retort.models.runtime.options import RuntimeOptions


@dataclass(frozen=True, slots=True)
class BackendVerdict:
    """One backend's golden report, or why it did not run."""

    backend: str
    report: GoldenReport | None
    problem: str = ""

    def describe(self) -> str:
        """One line."""
        if self.report is None:
            return f"  {self.backend}: not run ({self.problem})"
        report = self.report
        return (
            f"  {self.backend}: {'ok' if report.passed else 'WRONG'}, largest difference "
            f"{report.max_difference:.5f} of {report.tolerance:.5f} allowed, "
            f"{report.swapped} pairs out of order"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of verifying a bundle whose files and hashes are right."""

    folder: str
    name: str
    version: str
    golden_pairs: int
    key: str | None  # the public key that it is signed with; None: not checked
    backends: list[BackendVerdict]
    passed: bool

    def describe(self) -> str:
        """A few lines."""
        lines = [
            f"{self.folder}: {self.name} {self.version}",
            "  files and hashes: ok",
            f"  signature: {'not checked' if self.key is None else f'ok, by {self.key}'}",
            f"  golden pairs: {self.golden_pairs}",
            *(verdict.describe() for verdict in self.backends),
        ]
        return "\n".join(lines)


def verify_bundle(bundle: Bundle, options: RuntimeOptions, cache: Path) -> Verdict:
    """Check the golden scores of a bundle on every backend that `options` allow.

    It passes if a backend reproduced them and none failed in fp32 or in the precision that was
    asked for. Raises `BundleError` for bad golden pairs.
    """
    encoder = bundle.encoder()
    verdicts = []
    passed: list[BackendInfo] = []
    failed: list[BackendInfo] = []
    for info in candidates(options):
        try:
            _, report = load_compared(info, bundle, encoder, options, cache)
        except BackendUnavailable as problem:
            verdicts.append(BackendVerdict(str(info), None, str(problem)))
            continue
        verdicts.append(BackendVerdict(str(info), report))
        (passed if report.passed else failed).append(info)
    # Less precise arithmetic may be too coarse for a sound bundle; the server then passes it over.
    sound = all(info.precision != "fp32" and options.precision == "auto" for info in failed)
    return Verdict(
        folder=str(bundle.folder),
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        golden_pairs=len(bundle.golden),
        key=None if bundle.key is None else str(bundle.key),
        backends=verdicts,
        passed=bool(passed) and sound,
    )
