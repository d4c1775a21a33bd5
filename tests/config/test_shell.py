"""What a message suggests is the same value again behind a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.adapters.adapter import hub_folder
from batchgen.cli.compose import Composer
from batchgen.config import shell
from batchgen.config.models import AdapterConfig, SdxlModel
from batchgen.errors import ModelError
from batchgen.model import weights

EVIL = "w$(touch made)`touch made`\"; touch made #'.safetensors"


def in_bash(words: str) -> list[str]:
    """Return the arguments that bash makes of a line that was pasted."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


@given(text=st.text("$`\"'\\!*~{}()[]<>|&;#?,=: \n\tab中", min_size=1, max_size=15))
@settings(max_examples=30, deadline=None)
def test_a_suggested_setting_is_the_same_text_behind_bash_and_hydra(text: str) -> None:
    """Each character that means something to one of them."""
    (argument,) = in_bash(shell.override("sampling.negative_prompt", text))
    assert Composer().job(["table=t.csv", argument]).sampling.negative_prompt == text


@pytest.mark.parametrize(
    ("value", "written"),
    [("a/b-c.csv", "k=a/b-c.csv"), (5, "k=5"), (True, "k=true"), (None, "k=null")],
)
def test_a_plain_value_stands_without_quotes(value: object, written: str) -> None:
    """Nobody likes to read them."""
    assert shell.override("k", value) == written


def test_a_command_is_quoted_word_by_word() -> None:
    """Blanks in a path are no new argument."""
    line = shell.command("batchgen", "verify", "--repair", Path("a b/$x"))
    assert in_bash(line) == ["batchgen", "verify", "--repair", "a b/$x"]


def _suggested(message: str) -> list[str]:
    return in_bash(message.partition("`batchgen download ")[2].rpartition("` and")[0])


@pytest.mark.usefixtures("home")
def test_the_command_that_fetches_what_a_single_file_lacks_can_be_pasted() -> None:
    """Whatever the file is called."""
    Path(EVIL).touch()
    with pytest.raises(ModelError) as caught:
        weights.find(SdxlModel(path=EVIL))
    (argument,) = _suggested(str(caught.value))
    model = Composer().job(["table=t.csv", argument]).model
    assert isinstance(model, SdxlModel)
    assert model.path == EVIL
    assert not Path("made").exists()


@pytest.mark.usefixtures("home")
def test_the_command_that_fetches_an_adapter_can_be_pasted() -> None:
    """Its name on the hub and its file."""
    with pytest.raises(ModelError) as caught:
        hub_folder("film", AdapterConfig(hub_id="a/b", weight_name=EVIL))
    adapters = Composer().job(["table=t.csv", *_suggested(str(caught.value))]).adapters
    assert adapters["film"] == AdapterConfig(hub_id="a/b", weight_name=EVIL)
    assert not Path("made").exists()


@pytest.mark.usefixtures("home")
def test_a_model_behind_a_dangling_link_is_named_as_one() -> None:
    """The link is what must be corrected."""
    Path("m").symlink_to("nowhere")
    with pytest.raises(ModelError, match=r"model\.path=m is a link to 'nowhere'"):
        weights.find(SdxlModel(path="m"))
