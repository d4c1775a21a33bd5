"""Downloads of a job's adapters, through the hubs' own libraries against a local server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hub_server import HubServer, command, point_to, serving
from lora_files import write_lora
from tiny_model import change, write_model

from batchgen.adapters import adapter
from batchgen.cli.main import main
from batchgen.config.models import AdapterConfig
from batchgen.errors import ModelError
from batchgen.hub.download import download, listing
from batchgen.hub.hubs import Mirror, RemoteFile
from batchgen.hub.wanted import WantedAdapter, wanted_adapter
from batchgen.model import weights

FOUR, EIGHT = "four.safetensors", "eight.safetensors"
HUB_ID = "owner/fast-xl"
FLAGS = (f"adapters.fast.hub_id={HUB_ID}", f"adapters.fast.weight_name={FOUR}")


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A repository with two LoRAs at its top, one below, and what others have beside them."""
    folder = home / "served"
    for seed, name in enumerate((FOUR, EIGHT, "old/four.safetensors")):
        write_lora(folder / name, seed=seed)
    (folder / "LICENSE.md").write_text("terms")
    (folder / "README.md").write_text("card")
    with serving(folder) as server:
        point_to(server.url, monkeypatch)
        yield server


def config(weight_name: str | None = FOUR) -> AdapterConfig:
    """An adapter that is known by its name on a hub."""
    return AdapterConfig(hub_id=HUB_ID, weight_name=weight_name)


def fetched(weight_name: str | None = FOUR, source: str = "modelscope") -> tuple[Path, list[str]]:
    """Download, and return the folder with the lines that were said."""
    said: list[str] = []
    return download(wanted_adapter("fast", config(weight_name), source), said.append), said


def test_one_file_and_its_licence_are_fetched(hub: HubServer) -> None:
    """Not the 40 GB beside it; and a run finds it."""
    folder, said = fetched()
    assert {name for name, _ in hub.asked} == {FOUR, "LICENSE.md"}
    assert adapter.identified({"fast": config()})["fast"].path == folder / FOUR
    assert (folder / FOUR).read_bytes() == (hub.folder / FOUR).read_bytes()
    assert said[0] == f"The licence of {HUB_ID}: see its LICENSE, or the model card of {HUB_ID}."


def test_receipt_has_the_hubs_hash(hub: HubServer) -> None:
    """As a model's has."""
    folder, _ = fetched()
    receipt = json.loads((folder / weights.RECEIPT).read_text())
    assert receipt["from"] == f"ModelScope {HUB_ID}@master"
    assert receipt["sha256"][FOUR] == hub.sha256(FOUR)


def test_second_download_asks_nobody(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does that of another file of the same repository, once it is here as well."""
    fetched(FOUR)
    fetched(EIGHT)
    point_to("http://127.0.0.1:9", monkeypatch)
    hub.asked.clear()
    for name in (FOUR, EIGHT):
        assert fetched(name)[1] == ["It is here already, with every file as the hub had it."]
    assert not hub.asked


def test_file_that_changed_since_is_fetched_anew(hub: HubServer) -> None:
    """It is a whole LoRA still, but not the hub's."""
    folder, _ = fetched()
    write_lora(folder / FOUR, seed=9)
    fetched()
    assert (folder / FOUR).read_bytes() == (hub.folder / FOUR).read_bytes()


def test_wrong_content_is_refused_with_the_file(hub: HubServer) -> None:
    """And nothing is found by a run."""
    hub.wrong = {FOUR}
    with pytest.raises(ModelError, match=r"four\.safetensors.*Hash mismatch"):
        fetched()
    with pytest.raises(ModelError, match="is not on this machine"):
        adapter.identified({"fast": config()})


def test_file_that_is_no_lora_is_refused(hub: HubServer) -> None:
    """Whole as it came."""
    (hub.folder / FOUR).write_bytes(b"not one")
    with pytest.raises(ModelError, match=r"four\.safetensors is not a complete safetensors file"):
        fetched()


def test_of_several_files_one_must_be_named(hub: HubServer) -> None:
    """Refused with the list, before anything is fetched."""
    with pytest.raises(ModelError, match=r"it has: eight\..*, four\..*adapters\.fast\.weight_name"):
        fetched(None)
    with pytest.raises(ModelError, match=r"has no five\.safetensors; of safetensors it has: eigh"):
        fetched("five.safetensors")
    assert not hub.asked


def test_only_file_needs_no_name(hub: HubServer) -> None:
    """Those in folders below do not count, as they do not where a folder is searched."""
    (hub.folder / EIGHT).unlink()
    folder, _ = fetched(None)
    assert {name for name, _ in hub.asked} == {FOUR, "LICENSE.md"}
    assert adapter.identified({"fast": config(None)})["fast"].path == folder / FOUR
    assert fetched(None)[1][0].startswith("It is here already")


def test_file_in_a_folder_of_the_repository(hub: HubServer) -> None:
    """By its path there."""
    folder, _ = fetched("old/four.safetensors")
    assert (folder / "old" / FOUR).read_bytes() == (hub.folder / "old" / FOUR).read_bytes()
    assert fetched("old/four.safetensors")[1][0].startswith("It is here already")


def test_dry_run_lists_model_and_adapters(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its total and its licence; nothing is fetched."""
    for path in write_model(home / "sdxl").iterdir():
        path.rename(hub.folder / path.name)
    assert main(["download", "--dry-run", *FLAGS]) == 0
    shown = capsys.readouterr().out
    size = (hub.folder / FOUR).stat().st_size
    assert [line.split() for line in shown.splitlines()][1] == [FOUR, f"{size:,}"]
    assert f"ModelScope {HUB_ID}@master: 2 files, " in shown
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in shown
    assert not hub.asked


def test_model_and_adapter_come_with_one_command(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preset names its adapter, so its name fetches it."""
    for path in write_model(home / "sdxl").iterdir():
        path.rename(hub.folder / path.name)
    lora = "sdxl_lightning_4step_lora.safetensors"
    (hub.folder / FOUR).rename(hub.folder / lora)
    assert main(["download", "sampling=lightning-4"]) == 0
    places = [Path(line) for line in capsys.readouterr().out.splitlines() if line.startswith("/")]
    assert [(places[0] / lora).is_file(), (places[1] / "model_index.json").is_file()] == [True] * 2


def test_model_of_ones_own_is_left_as_it_is(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained further, say: only the adapter is fetched."""
    mine = write_model(home / "mine")
    assert main(["download", f"model.path={mine}", *FLAGS]) == 0
    assert f"{mine} is a whole model and is left as it is." in capsys.readouterr().out
    assert {name for name, _ in hub.asked} == {FOUR, "LICENSE.md"}
    assert not (mine / weights.RECEIPT).exists()


@pytest.mark.parametrize("model", ["demo", "fake"])
def test_model_of_the_package_has_no_files_to_fetch(
    home: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """Which is no error: what it needs is here."""
    assert main(["download", f"model={model}"]) == 0
    shown = capsys.readouterr().out
    assert shown == f"model={model} has no files to fetch: it comes with batchgen.\n"
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("place", ["", "owner/fast-xl", "fast-xl"])
def test_folder_stands_in_for_a_hub(hub: HubServer, home: Path, place: str) -> None:
    """The file at its top, or where the repository's name leads."""
    disk = home / "disk" / place
    disk.parent.mkdir(parents=True, exist_ok=True)
    hub.folder.rename(disk)
    folder, _ = fetched(source=str(home / "disk"))
    assert adapter.identified({"fast": config()})["fast"].path == folder / FOUR
    assert not (folder / EIGHT).exists()
    write_lora(disk / FOUR, seed=9)
    said = fetched(source=str(home / "disk"))[1]
    assert (folder / FOUR).read_bytes() == (disk / FOUR).read_bytes()
    assert said[-1] == "No SHA-256 to compare with: the folder has no receipt."


def test_folder_without_a_model_is_enough_where_the_model_is(hub: HubServer, home: Path) -> None:
    """A disk with adapters alone, carried to a machine that has fetched its model before."""
    model = write_model(home / "models" / "stable-diffusion-xl-base-1.0")
    overrides = ["download", "--from", str(hub.folder), *FLAGS]
    assert main(overrides) == 0
    change(model / "unet/diffusion_pytorch_model.fp16.safetensors", conv_in__bias=None)
    assert main(overrides) == 2


def test_folder_without_the_file_is_refused(hub: HubServer) -> None:
    """With where else it may lie."""
    with pytest.raises(ModelError, match=r"has no five\.safetensors\. Name .*owner/fast-xl"):
        fetched("five.safetensors", str(hub.folder))


def test_hugging_face_may_know_it_by_another_name(hub: HubServer, home: Path) -> None:
    """It is found by either; the second time nobody is asked."""
    flags = ("model=demo", *FLAGS, "adapters.fast.huggingface_id=other/fast-xl", "--from", "hf")
    done = command(home, hub, *flags)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert "models--other--fast-xl" in folder.parts
    named = AdapterConfig(hub_id=HUB_ID, huggingface_id="other/fast-xl", weight_name=FOUR)
    assert adapter.identified({"fast": named})["fast"].path == folder / FOUR
    hub.asked.clear()
    assert "It is here already" in command(home, hub, *flags).stdout
    assert not hub.asked


def test_hugging_faces_file_is_compared_here(hub: HubServer, home: Path) -> None:
    """Its library looks at sizes only."""
    hub.wrong = {FOUR}
    done = command(home, hub, "model=demo", *FLAGS, "--from", "hf")
    assert done.returncode == 2
    assert "four.safetensors is not the file that the hub has" in done.stderr


class Elsewhere(Mirror):
    """A hub that lists a file by a path that leads out of its folder."""

    path = "../../precious.safetensors"

    def files(self, _: Sequence[str]) -> list[RemoteFile]:
        """List it, with a hash that it does not have."""
        return [RemoteFile(self.path, 1, "0" * 64)]


def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """What has another hash than the hub lists is deleted: nobody's file outside may be."""
    hub = Elsewhere(tmp_path / "hub", tmp_path / "models" / "owner--name")
    precious = tmp_path / "precious.safetensors"
    precious.write_bytes(b"mine")
    wanted = WantedAdapter(hub, "fast", config(Elsewhere.path))
    for fetch in (listing, lambda one: download(one, print)):
        with pytest.raises(ModelError, match=r"lists '\.\./.*', which is outside of its folder"):
            fetch(wanted)
    assert precious.read_bytes() == b"mine"
