"""The config, its schema and its defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from facemake import settings
from facemake.errors import ConfigError

CONFIG = settings.SCHEMA.parent / "config.yaml"


def test_the_shipped_config_has_every_key_of_the_schema_with_its_default():
    shipped = yaml.safe_load(CONFIG.read_text())
    assert shipped == settings.filled({})


def test_every_key_of_the_schema_is_described():
    def walk(node: dict, path: str) -> None:
        for key, child in node.get("properties", {}).items():
            assert child.get("description"), f"{path}{key} has no description"
            assert "default" in child or "properties" in child, f"{path}{key} has no default"
            if "properties" in child:
                assert child["additionalProperties"] is False, f"{path}{key} lets any key pass"
            walk(child, f"{path}{key}.")

    walk(settings.schema(), "")
    assert settings.schema()["additionalProperties"] is False


def test_the_defaults_pass_their_own_check():
    settings.check(settings.filled({}))


@pytest.mark.parametrize("word", [False, "off", {"backend": False}, {"backend": "off"}])
def test_embeddings_are_switched_off_by_one_word(word: object):
    config = settings.filled({"embed": word})
    settings.check(config)
    assert config["embed"]["backend"] == "off"


def test_what_stands_in_a_section_on_the_command_line_has_its_type():
    """Snakemake makes texts of it."""
    given = {
        "detect": {"min_score": "0.4", "model": "null"},
        "embed": {"backend": "off", "flip": "true"},
        "track": {"max_gap": "12", "cuts": "false"},
        "dataset": {"max_per_track": "null", "splits": {"train": "0.5", "test": "0.5"}},
    }
    config = settings.filled(given)
    settings.check(config)
    assert config["detect"]["min_score"] == 0.4 and config["detect"]["model"] is None
    assert config["embed"]["flip"] is True and config["track"]["cuts"] is False
    assert config["track"]["max_gap"] == 12 and config["dataset"]["max_per_track"] is None
    assert config["dataset"]["splits"] == {"train": 0.5, "test": 0.5}


@pytest.mark.parametrize(
    "section", [{"track": {"max_gap": w}} for w in ("many", "true", "1.5", "[", "2026-01-01")]
)
def test_a_text_that_is_no_number_is_refused(section: dict):
    with pytest.raises(ConfigError, match=r"track\.max_gap is .*; it must be of type integer"):
        settings.check(settings.filled(section))


def test_all_faults_are_told_at_once_with_file_line_and_cure(tmp_path: Path):
    file = tmp_path / "config.yaml"
    file.write_text(
        "outdir: results\n"
        "detekt: {}\n"
        "track:\n"
        "  max_gap: many\n"
        "  mian: longest\n"
        "dataset:\n"
        "  min_quality: 7\n"
        "overlay:\n"
        "  draw: [boxes,\n"
        "    eyes]\n"
        "  hide: blurred\n"
    )
    config = settings.filled(yaml.safe_load(file.read_text()))
    with pytest.raises(ConfigError) as caught:
        settings.check(config, [file])
    text = str(caught.value)
    assert f"{file}:2: detekt is no key; did you mean detect?" in text
    assert f"{file}:4: track.max_gap is 'many'; it must be of type integer" in text
    assert f"{file}:5: track.mian is no key; did you mean main?" in text
    assert f"{file}:7: dataset.min_quality is 7" in text
    assert f"{file}:10: overlay.draw.1 is 'eyes'; it may be boxes, ids" in text
    assert f"{file}:11: overlay.hide is 'blurred'; it may be null, pixelate" in text


def test_a_section_of_the_wrong_type_is_a_message_and_no_traceback():
    config = settings.filled({"track": 5})
    with pytest.raises(ConfigError, match=r"track is 5, and has keys of its own: \{max_gap: "):
        settings.check(config)


def test_split_shares_must_sum_to_one():
    config = settings.filled({"dataset": {"splits": {"train": 0.5, "val": 0.1}}})
    with pytest.raises(ConfigError, match=r"sum to 0\.6, not 1"):
        settings.check(config)


def test_people_in_two_splits_cannot_be_refused_without_embeddings():
    config = settings.filled({"embed": "off", "dataset": {"people": "refuse"}})
    with pytest.raises(
        ConfigError, match=r"dataset\.people is refuse.*embed is off.*embed\.backend"
    ):
        settings.check(config)
    settings.check(settings.filled({"embed": "off"}))


def test_people_are_not_compared_by_a_similarity_that_nobody_knows(monkeypatch):
    from dataclasses import replace

    from facemake.backends.embed import EMBEDDERS
    from facemake.engines.native import compares_people, people_not_compared

    monkeypatch.setitem(EMBEDDERS, "dlib", replace(EMBEDDERS["dlib"], same_person=None))
    config = settings.filled({})
    settings.check(config)
    assert not compares_people(config)
    assert "set dataset.same_person" in people_not_compared(config)
    with pytest.raises(ConfigError, match=r"dataset\.people is refuse.*set dataset\.same_person"):
        settings.check(settings.filled({"dataset": {"people": "refuse"}}))
    said = settings.filled({"dataset": {"people": "refuse", "same_person": 0.8}})
    settings.check(said)
    assert compares_people(said)
    for name in ("facenet", "facenet-casia", "dinov3"):
        words = people_not_compared(settings.filled({"embed": {"backend": name}}))
        assert f"the embedder {name}, nobody published" in words
        assert "`facemake identities verify` measures it" in words


@pytest.mark.parametrize("word", [False, "off"])
def test_people_are_switched_off_by_one_word(word: object):
    config = settings.filled({"dataset": {"people": word}})
    settings.check(config)
    assert config["dataset"]["people"] == "off"


def test_tables_that_nothing_makes_are_not_exported():
    wanted = {"formats": ["csv"], "tables": ["embeddings", "aus"]}
    settings.check(settings.filled({"export": wanted}))
    with pytest.raises(ConfigError, match=r"export\.tables has embeddings, which this config"):
        settings.check(settings.filled({"export": wanted, "embed": "off"}))
    settings.check(settings.filled({"export": {**wanted, "formats": ["3di"]}, "embed": "off"}))
