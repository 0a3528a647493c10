"""A few synsets in the format of WordNet's files, for tests of its reader."""

from __future__ import annotations

from pathlib import Path

NOUNS = {
    # first lemma: (all lemmas, hypernyms)
    "entity": (["entity"], []),
    "animal": (["animal", "beast"], ["entity"]),
    "pet": (["pet"], ["animal"]),
    "canine": (["canine"], ["animal"]),
    "dog": (["dog"], ["canine", "pet"]),
    "author": (["white"], ["entity"]),
    "whiteness": (["white", "whiteness"], ["entity"]),
    "t-shirt": (["t-shirt", "jersey"], ["entity"]),
    "coffee_table": (["coffee_table"], ["entity"]),
}
ADJECTIVES = {"rough": (["bumpy", "rough"], []), "bumpy": (["bumpy"], [])}


def write_wordnet(directory: Path) -> Path:
    """Write the folder: index.*, data.* and *.exc of all parts of speech, without lexnames."""
    directory.mkdir(parents=True, exist_ok=True)
    for part, mark, synsets in (("noun", "n", NOUNS), ("adj", "a", ADJECTIVES)):
        _write_part(directory, part, mark, synsets)
    for part in ("verb", "adv"):
        _write_part(directory, part, part[0], {})
    for part in ("noun", "adj", "verb", "adv"):
        (directory / f"{part}.exc").write_text("geese goose\n" if part == "noun" else "")
    return directory


def _write_part(directory: Path, part: str, mark: str, synsets: dict) -> None:
    def line(name: str, offsets: dict[str, int]) -> str:
        lemmas, hypernyms = synsets[name]
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        pointers = "".join(f" @ {offsets[other]:08d} {mark} 0000" for other in hypernyms)
        return (
            f"{offsets[name]:08d} 03 {mark} {len(lemmas):02x} {words} {len(hypernyms):03d}"
            f"{pointers} | of {name}  \n"
        )

    header = "  1 a line of the licence  \n"
    offsets, place = {}, len(header)
    for name in synsets:
        offsets[name] = place
        place += len(line(name, dict.fromkeys(synsets, 0)))
    text = header + "".join(line(name, offsets) for name in synsets)
    (directory / f"data.{part}").write_text(text)
    senses: dict[str, list[int]] = {}
    for name, (lemmas, _) in synsets.items():
        for lemma in lemmas:
            senses.setdefault(lemma, []).append(offsets[name])
    lines = [
        f"{lemma} {mark} {len(found)} 0 {len(found)} 0 "
        + " ".join(f"{offset:08d}" for offset in found)
        + "  \n"
        for lemma, found in sorted(senses.items())
    ]
    (directory / f"index.{part}").write_text(header + "".join(lines))
