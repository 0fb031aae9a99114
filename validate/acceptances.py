"""How each draft of a plan is accepted: an alpha, a survival curve, what profile, fit or run printed; never assumed."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specmath.acceptance import Curve, Geometric, HitMiss, Law

READ = ("profile", "fit", "run")
PERCENT_FROM = 2.0
HEADS = ("mtp", "eagle", "eagle3", "sparse")  # what a profile cannot score


@dataclass(frozen=True)
class Observed(Curve):
    """The survival curve of rounds under an acceptance rule."""

    rule: str = "unknown"


@dataclass(frozen=True)
class Acceptance:
    """A law, where it is from, and alpha with its interval as a mapping where that is known."""

    law: Law
    source: str
    alpha: Mapping[str, Any] | None = None


def acceptances(
    drafts: Sequence[str],
    alphas: Sequence[str] = (),
    survivals: Sequence[str] = (),
    files: Sequence[str] = (),
) -> dict[str, Acceptance]:
    """The acceptance of every draft that was given one; ValueError in one line for what is none, or given twice.

    >>> acceptances(["lookup", "mtp"], [".5", ".75"])["mtp"].law
    Geometric(alpha=0.75)
    """
    found: dict[str, Acceptance] = {}
    for option, given in (
        ("alpha", _alphas(drafts, alphas)),
        ("survival", _survivals(drafts, survivals)),
        ("acceptance", _files(drafts, files)),
    ):
        for draft, acceptance in given:
            if draft in found:
                raise ValueError(f"--{option}: found a second acceptance of {draft}, expected one: leave the other out")
            found[draft] = acceptance
    return found


def refuse_missing(drafts: Sequence[str], known: Mapping[str, Acceptance], target: str) -> None:
    """ValueError where a draft has no acceptance, with how to get it."""
    lacking = [draft for draft in drafts if draft not in known]
    if lacking:
        expected = "expected how its drafts are accepted, as nothing is assumed"
        others = "--alpha .7 takes one as given, --whatif alpha asks which it takes"
        raise ValueError(f"acceptance of {lacking[0]}: found none, {expected}: {measure(target, lacking[0])}; {others}")


def measure(target: str, draft: str) -> str:
    """How to get the acceptance of a draft: by scoring text, or of a head from the engine that runs it."""
    if draft.partition(":")[0] in HEADS:
        return (
            f"pass what an engine logs by position, as --survival {draft}=S1,S2,..., or specmath fit --json of a trace"
        )
    command = shlex.join(["specmath", "profile", "--target", target, "--draft", draft, "--json"])
    return f"{command} > FILE (or specmath run, or fit), then --acceptance FILE"


def named(option: str, name: str, drafts: Sequence[str]) -> str:
    """The draft that a name means: itself, what stands before or after its colon; ValueError where it is none."""
    meant = [draft for draft in drafts if draft == name] or [d for d in drafts if name in d.split(":", 1)]
    if len(meant) != 1:
        raise ValueError(f"--{option}: found the draft {name!r}, expected one of {', '.join(drafts)}")
    return meant[0]


def _alphas(drafts, texts):
    bare = [text for text in texts if "=" not in text]
    if bare and len(bare) != len(drafts):
        found = f"found {len(bare)} without a draft's name for {len(drafts)} drafts"
        raise ValueError(f"--alpha: {found}, expected one for each in order, or DRAFT=.8")
    pairs = [*zip(drafts, bare, strict=True)] if bare else []
    pairs += [_split("alpha", text, drafts) for text in texts if "=" in text]
    return [(draft, Acceptance(Geometric(_share("alpha", text)), "given")) for draft, text in pairs]


def _survivals(drafts, texts):
    for text in texts:
        draft, values = _split("survival", text, drafts)
        curve = tuple(_share("survival", value) for value in values.split(","))
        yield draft, Acceptance(Curve(curve), "given")


def _split(option, text, drafts):
    """(draft, value) of DRAFT=VALUE; of the only draft where no name stands before."""
    name, equals, value = text.rpartition("=")
    if not equals and len(drafts) > 1:
        raise ValueError(f"--{option}: found {text!r} for {len(drafts)} drafts, expected DRAFT=VALUE")
    return (named(option, name, drafts) if equals else drafts[0]), value


def _share(option, text):
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"--{option}: found {text!r}, expected a number in [0, 1]") from None
    if not 0 <= value <= 1:
        hint = f": did you mean {value / 100:g}?" if PERCENT_FROM <= value <= 100 else ""
        raise ValueError(f"--{option}: found {text}, expected a number in [0, 1]{hint}")
    return value


def _files(drafts, texts):
    """(draft, acceptance) of every draft that the files know."""
    for text in texts:
        name, _, rest = text.partition("=")
        wanted = named("acceptance", name, drafts) if rest and not pathlib.Path(text).exists() else None
        path = pathlib.Path(rest if wanted else text)
        document = _document(path)
        records = _records(document, wanted or (drafts[0] if len(drafts) == 1 else None))
        found = {draft: records[name] for draft in drafts for name in _aliases(draft) if name in records}
        found = {draft: record for draft, record in found.items() if wanted in (None, draft)}
        if not found:
            held = ", ".join(records) or "a draft without a name"
            raise ValueError(f"--acceptance: found {held} in {path}, expected {', '.join(drafts)}: give DRAFT={path}")
        yield from ((draft, _acceptance(path, draft, record)) for draft, record in found.items())


def _records(document, alone):
    """What a document says of each draft, by name; of the only one it has, also as `alone`, the draft that is meant."""
    if "drafts" in document:
        records = {str(record["name"]): record for record in document["drafts"]}
    else:
        said = {"rule": document.get("rule"), **(document.get("acceptance") or document)}
        records = {document["draft"]: said} if document.get("draft") else {}
        return {alone: said} if alone and not records else records
    return {alone: next(iter(records.values()))} if alone and len(records) == 1 else records


def _aliases(draft):
    """Names that a file may have for it: itself, and the id behind its colon."""
    return (draft, *draft.split(":", 1)[1:])


def _document(path):
    try:
        document = json.loads(path.read_text())
    except OSError as problem:
        raise ValueError(
            f"--acceptance: found no file {path} ({problem.strerror}), expected what --json printed"
        ) from None
    except ValueError:
        document = None
    schema = document.get("schema") if isinstance(document, dict) else None
    if str(schema).partition("/")[0] not in {f"specmath.{name}" for name in READ}:
        expected = f"expected the JSON of specmath {', '.join(READ[:-1])} or {READ[-1]}"
        raise ValueError(f"--acceptance: found {schema or 'no such object'} in {path}, {expected}")
    return document


def _acceptance(path, draft, record):
    """HitMiss where rounds without a draft were told apart, else the survival curve, else alpha alone."""
    law, curve, alpha = record.get("law") or {}, _curve(record.get("survival")), record.get("alpha")
    if law.get("name") == "HitMiss":
        return Acceptance(HitMiss(**law["params"]), str(path), alpha)
    if curve:
        return Acceptance(Observed(curve, record.get("rule") or "unknown"), str(path), alpha)
    if alpha and alpha.get("value") is not None:
        return Acceptance(Geometric(alpha["value"]), str(path), alpha)
    raise ValueError(f"--acceptance: found no survival, law or alpha of {draft} in {path}, expected one of them")


def _curve(survival):
    """S_1, .. as far as they are known."""
    values = []
    for value in (survival or ())[1:]:
        if value is None:
            break
        values.append(value)
    return tuple(values)
