"""Downloads against a local server that speaks the hubs' own APIs, through the hubs' libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import HubServer, command, point_to, serving
from tiny_model import change, weight_file, write_model

from batchgen.cli.main import main
from batchgen.config.device import DeviceKind
from batchgen.config.models import SdxlModel
from batchgen.errors import ModelError
from batchgen.hub import hubs
from batchgen.hub.download import download, listing
from batchgen.hub.wanted import is_left_alone, wanted_model
from batchgen.model import weights

UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server with a small SDXL, and what a real repository has beside it."""
    folder = write_model(home / "served")
    write_model(home / "plain", None)
    weight_file(home / "plain", "unet", None).rename(weight_file(folder, "unet", None))
    (folder / "LICENSE.md").write_text("CreativeML Open RAIL++-M")
    (folder / "sd_xl_base_1.0.safetensors").write_bytes(b"x" * 99)
    (folder / "unet/model.onnx").write_bytes(b"x" * 99)
    with serving(folder) as server:
        point_to(server.url, monkeypatch)
        yield server


def fetched(model: SdxlModel, source: str = "modelscope") -> tuple[Path, list[str]]:
    """Download, and return the folder with the lines that were said."""
    said: list[str] = []
    return download(wanted_model(model, source), said.append), said


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_one_variant_needs_is_fetched_and_nothing_else(hub: HubServer, home: Path) -> None:
    """Seven gigabytes of SDXL, not seventy; into ModelScope's cache, where it is found again."""
    folder, said = fetched(SdxlModel())
    names = {name for name, _ in hub.asked}
    assert UNET in names
    assert "LICENSE.md" in names
    assert not names & {"sd_xl_base_1.0.safetensors", "unet/model.onnx", "README.md"}
    assert not [name for name in names if name.endswith("_model.safetensors")]
    assert weights.locate(SdxlModel()) == folder
    assert folder.is_relative_to(home / ".cache/modelscope")
    assert any("Open RAIL++-M" in line for line in said)


def test_receipt_names_the_source_and_every_hash(hub: HubServer) -> None:
    """What `master` stood for on that day is written down."""
    folder, _ = fetched(SdxlModel())
    receipt = json.loads((folder / weights.RECEIPT).read_text())
    assert receipt["from"] == "ModelScope AI-ModelScope/stable-diffusion-xl-base-1.0@master"
    assert receipt["sha256"][UNET] == hub.sha256(UNET)
    assert set(receipt["sha256"]) == {name for name, _ in hub.asked}


def test_second_download_asks_nobody(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the network nor the disk for seven gigabytes: time stamps tell."""
    folder, _ = fetched(SdxlModel())
    point_to("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr("batchgen.storage.hashes.sha256", None)
    hub.asked.clear()
    assert fetched(SdxlModel()) == (
        folder,
        ["It is here already, with every file as the hub had it."],
    )
    assert not hub.asked


def test_run_with_files_that_are_not_what_was_fetched_is_refused(hub: HubServer) -> None:
    """The hub's hashes are compared again with those that an identity needs anyhow."""
    folder, _ = fetched(SdxlModel())
    before = weights.identity(SdxlModel(), DeviceKind.cpu)
    change(folder / UNET, conv_in__bias=np.ones(2, np.float16))
    with pytest.raises(ModelError, match=r"unet/.* is not as it was fetched: .*batchgen download"):
        weights.identity(SdxlModel(), DeviceKind.cpu)
    (folder / weights.RECEIPT).unlink()
    assert weights.identity(SdxlModel(), DeviceKind.cpu) != before
    assert hub.url


@pytest.mark.parametrize("content", [b"", b"\0" * 31_492])
def test_file_that_changed_since_is_fetched_anew(hub: HubServer, content: bytes) -> None:
    """Cut off, or of the same length with other bytes in it."""
    folder, _ = fetched(SdxlModel())
    (folder / UNET).write_bytes(content)
    hub.asked.clear()
    fetched(SdxlModel())
    assert [name for name, _ in hub.asked] == [UNET]
    assert (folder / UNET).read_bytes() == (hub.folder / UNET).read_bytes()


def test_interrupted_file_goes_on_where_it_stopped(hub: HubServer) -> None:
    """The connection breaks after a thousand bytes; they are not asked for again."""
    hub.cut_after = {UNET: 1000}
    folder, _ = fetched(SdxlModel())
    assert [span for name, span in hub.asked if name == UNET] == ["", "bytes=1000-"]
    assert (folder / UNET).read_bytes() == (hub.folder / UNET).read_bytes()


def test_interrupted_download_goes_on_at_the_next_start(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come is kept, whole files and parts of one."""
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_RETRY_TIMES", 0)
    hub.cut_after = {UNET: 1000}
    with pytest.raises(ModelError, match=r"unet/.*start the same command again and it goes on"):
        fetched(SdxlModel())
    hub.asked.clear()
    fetched(SdxlModel())
    assert hub.asked == [(UNET, "bytes=1000-")]


def test_wrong_content_is_refused_with_the_file(hub: HubServer) -> None:
    """Whatever the server calls it, its bytes are not what the hub lists."""
    hub.wrong = {UNET}
    with pytest.raises(ModelError, match=r"unet/.*Hash mismatch.*\. What has come is kept"):
        fetched(SdxlModel())
    with pytest.raises(ModelError, match=r"unet/.* is missing; the model is incomplete"):
        weights.locate(SdxlModel())


def test_file_that_is_listed_but_gone_is_named(hub: HubServer) -> None:
    """A 404 in the middle."""
    hub.gone = {"vae/config.json"}
    with pytest.raises(ModelError, match=r"cannot be fetched: vae/config\.json: NotExistError"):
        fetched(SdxlModel())


def test_slow_server_is_given_up_in_the_end(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that does not come within modelscope's patience is an error, not a hang."""
    monkeypatch.setattr("modelscope_hub._legacy_api.DOWNLOAD_TIMEOUT", 0.2)
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_RETRY_TIMES", 0)
    hub.delay_s = {UNET: 0.6}
    with pytest.raises(
        ModelError, match=r"cannot be fetched: unet/.*: (no answer in time|NetworkError)"
    ):
        fetched(SdxlModel())


def test_slow_file_may_take_a_day_not_an_hour(hub: HubServer) -> None:
    """Modelscope's own limit would end a UNet at less than 1.4 MB/s."""
    assert hub.url
    code = (
        "from batchgen.hub import hubs; hubs.ModelScope('o/m', 'master').files(['*']);"
        "from modelscope_hub import constants; print(constants.DOWNLOAD_TOTAL_TIMEOUT)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == hubs.PATIENCE_S


@pytest.mark.parametrize("component", ["unet", "model_index.json"])
def test_repository_without_a_part_is_refused_before_anything_is_fetched(
    hub: HubServer, component: str
) -> None:
    """The variant may be called otherwise there."""
    path = hub.folder / (UNET if component == "unet" else component)
    path.unlink()
    with pytest.raises(ModelError, match=rf"has no {component}.*model\.variant=fp16"):
        fetched(SdxlModel())
    assert not hub.asked


def test_unknown_model_is_a_sentence(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what else can be done; here the server knows no such address."""
    point_to(f"{hub.url}/nowhere/repo?", monkeypatch)
    with pytest.raises(ModelError, match=r"ModelScope .*@master cannot be fetched"):
        fetched(SdxlModel())


@pytest.mark.usefixtures("home")
def test_hub_out_of_reach_names_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is no traceback."""
    point_to("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ModelError, match=r"ModelScope .*--from hf.*MODELSCOPE_ENDPOINT.*--from F"):
        fetched(SdxlModel())


def test_vae_of_full_precision_comes_in_place_of_the_other(hub: HubServer, home: Path) -> None:
    """Another file, so another identity; the rest stays in float16."""
    write_model(home / "float32", None)
    plain = "vae/diffusion_pytorch_model.safetensors"
    (home / "float32" / plain).rename(hub.folder / plain)
    model = SdxlModel(full_precision_vae=True, path=str(home / "disk"))
    folder, _ = fetched(model)
    assert sorted(path.name for path in (folder / "vae").iterdir()) == [
        "config.json",
        Path(plain).name,
    ]
    assert folder / plain in weights.find(model).loaded()
    assert folder / UNET in weights.find(model).loaded()


def test_named_folder_receives_the_files(hub: HubServer, home: Path) -> None:
    """A disk with room, and the same model.path for the run."""
    assert hub.url
    model = SdxlModel(path=str(home / "disk/sdxl"))
    folder, _ = fetched(model)
    assert folder == home / "disk/sdxl"
    weights.find(model).check()


def test_disk_that_is_too_small_is_known_before(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after six of seven gigabytes."""
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"has 1,000 bytes free, and the files take \d+,\d+"):
        fetched(SdxlModel(path=str(home / "disk")))
    assert not hub.asked


@pytest.mark.parametrize("source", ["modelscope", "folder"])
def test_disk_of_a_cache_is_known_before_too(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Where nobody names a folder, the hub's library or batchgen has its own."""
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match=r"has 1,000 bytes free.*MODELSCOPE_CACHE, HF_HOME or BAT"):
        fetched(SdxlModel(), str(hub.folder) if source == "folder" else source)
    assert not hub.asked


def test_what_a_cache_has_needs_no_room(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that broke off may go on with the room that is left."""
    folder, _ = fetched(SdxlModel())
    (folder / weights.RECEIPT).unlink()
    (folder / "LICENSE.md").unlink()
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert fetched(SdxlModel())[0] == folder
    assert hub.url


@pytest.mark.parametrize("path", [None, "disk"])
def test_part_of_a_file_needs_no_room_again(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, path: str | None
) -> None:
    """Most of SDXL is one file; what has come of it is not counted as still to come."""
    whole = (hub.folder / UNET).stat().st_size
    hub.cut_after = {UNET: whole - 1000}
    with monkeypatch.context() as broken:
        broken.setattr("modelscope_hub._download.DOWNLOAD_RETRY_TIMES", 0)
        with pytest.raises(ModelError):
            fetched(SdxlModel(path=path))
    usage: Any = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    fetched(SdxlModel(path=path))


def test_parts_beside_a_snapshot_count(tmp_path: Path) -> None:
    """As Hugging Face's library keeps them."""
    snapshot = tmp_path / "snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(b"x" * 7)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/0123.incomplete").write_bytes(b"x" * 30)
    files = [hubs.RemoteFile("config.json", 7, None), hubs.RemoteFile("unet", 100, "0123")]
    assert hubs.bytes_here(snapshot, files) == 37


def test_place_of_hugging_face_is_its_librarys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot if there is one, else where the repository will be."""
    cache = home / ".cache/huggingface/hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    hub = hubs.HuggingFace("owner/xl", "main")
    assert hub.place() == cache / "models--owner--xl"
    snapshot = cache / "models--owner--xl/snapshots/abc"
    snapshot.mkdir(parents=True)
    assert hub.place() == snapshot


def test_dry_run_lists_files_and_sizes_and_fetches_nothing(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The total is that of the files, and the licence is shown."""
    assert main(["download", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    sizes = dict(line.split() for line in shown.splitlines()[:-2])
    assert sizes[UNET] == f"{(hub.folder / UNET).stat().st_size:,}"
    total = sum(int(size.replace(",", "")) for size in sizes.values())
    assert f"{len(sizes)} files, {total:,} bytes" in shown
    assert "Open RAIL++-M" in shown
    assert not hub.asked
    assert not (home / ".cache/modelscope/models").exists()


def test_folder_stands_in_for_a_hub(hub: HubServer, home: Path) -> None:
    """Copied as far as it is not here, checked, and found without a path."""
    folder, _ = fetched(SdxlModel(), str(hub.folder))
    assert folder.is_relative_to(home / "cache")
    assert weights.locate(SdxlModel()) == folder
    assert not (folder / "unet/model.onnx").exists()
    assert not hub.asked


def test_folder_is_looked_at_every_time(hub: HubServer) -> None:
    """What changed in it is copied; a receipt of ours says nothing of it."""
    fetched(SdxlModel(), str(hub.folder))
    change(hub.folder / UNET, conv_in__bias=np.ones(2, np.float16))
    folder, said = fetched(SdxlModel(), str(hub.folder))
    assert (folder / UNET).read_bytes() == (hub.folder / UNET).read_bytes()
    assert "No SHA-256 to compare with: the folder has no receipt." in said
    assert "Comparing SHA-256." not in said


def test_folder_of_a_hub_has_hashes_to_compare(hub: HubServer, home: Path) -> None:
    """Those in the receipt that came with it."""
    carried, said = fetched(SdxlModel(path=str(home / "disk")))
    assert "Comparing SHA-256." in said
    assert "Comparing SHA-256." in fetched(SdxlModel(), str(carried))[1]
    assert hub.url


def test_folder_of_an_earlier_download_is_compared_with_its_hub(hub: HubServer, home: Path) -> None:
    """A disk that was carried here may have lost a bit on the way."""
    carried, _ = fetched(SdxlModel(path=str(home / "disk")))
    change(carried / UNET, conv_in__bias=np.ones(2, np.float16))
    with pytest.raises(ModelError, match=r"unet/.* is not the file that the hub has"):
        fetched(SdxlModel(), str(carried))
    assert hub.url


def test_folder_is_not_copied_onto_itself(hub: HubServer) -> None:
    """A file of other content would be deleted, and it would be the user's only one."""
    with pytest.raises(ModelError, match="is the folder to copy to"):
        fetched(SdxlModel(path=str(hub.folder)), str(hub.folder))


def test_folder_that_is_broken_is_no_model(hub: HubServer) -> None:
    """A copy is checked like any other."""
    (hub.folder / UNET).write_bytes((hub.folder / UNET).read_bytes()[:-1])
    with pytest.raises(ModelError, match="cut off or damaged"):
        fetched(SdxlModel(), str(hub.folder))


def test_source_that_is_nothing_is_refused(home: Path) -> None:
    """The choices are named."""
    with pytest.raises(
        ModelError, match=r"--from .*moddelscope has no model_index\.json.*modelscope, hf, or"
    ):
        listing(wanted_model(SdxlModel(), str(home / "moddelscope")))


def test_model_that_was_not_compared_is_not_taken_for_ones_own(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that ends while it compares goes on with that; only others' files are left."""
    model = SdxlModel(path=str(home / "disk"))
    with monkeypatch.context() as broken:
        broken.setattr("batchgen.storage.hashes.sha256", None)
        with pytest.raises(TypeError):
            fetched(model)
    weights.find(model).check()
    assert not is_left_alone(model, "modelscope")
    said = fetched(model)[1]
    assert not said[0].startswith("It is here already")
    (home / "disk" / weights.RECEIPT).unlink()
    assert is_left_alone(model, "modelscope")
    assert hub.url


def test_model_of_another_variant_is_never_written_into(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained further and saved by diffusers, which names no variant: it was hours of work."""
    mine = write_model(home / "mine", None)
    before = contents(mine)
    assert main(["download", f"model.path={mine}"]) == 2
    message = capsys.readouterr().err
    assert "text_encoder has no model.fp16.safetensors; it has model.safetensors" in message
    assert f"did not make {mine} and writes nothing into it" in message
    assert contents(mine) == before
    assert not hub.asked


@pytest.mark.parametrize("name", [UNET, "model_index.json"])
def test_damaged_model_of_ones_own_is_never_written_into(
    hub: HubServer, home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """What is left of it is the user's; what it lacks is said."""
    mine = write_model(home / "mine")
    (mine / name).unlink()
    before = contents(mine)
    assert main(["download", f"model.path={mine}"]) == 2
    message = capsys.readouterr().err
    assert Path(name).name in message
    assert "Fetch it again" not in message
    assert contents(mine) == before
    assert not hub.asked


def test_configs_of_ones_own_are_never_written_into(hub: HubServer, home: Path) -> None:
    """Nor is a file that stands where a folder should."""
    single = str(home / "mine.safetensors")
    Path(single).write_bytes(b"")
    (home / "configs").mkdir()
    (home / "configs/note.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"did not make .*/configs and writes nothing into it"):
        is_left_alone(SdxlModel(path=single, config_path=str(home / "configs")), "modelscope")
    with pytest.raises(ModelError, match=r"note\.txt is not a \.safetensors file"):
        is_left_alone(SdxlModel(path=str(home / "configs/note.txt")), "modelscope")
    assert not hub.asked


def test_download_that_broke_off_in_a_folder_goes_on(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder was marked as ours before its first file came; it is not final for that."""
    monkeypatch.setattr("modelscope_hub._download.DOWNLOAD_RETRY_TIMES", 0)
    hub.cut_after = {UNET: 1000}
    assert main(["download", f"model.path={home / 'disk'}"]) == 2
    receipt = weights.receipt(home / "disk")
    assert (receipt["complete"], receipt["sha256"]) == (False, {})
    assert main(["download", f"model.path={home / 'disk'}"]) == 0
    assert "It is here already" not in capsys.readouterr().out
    assert weights.receipt(home / "disk")["complete"] is True
    weights.identity(SdxlModel(path=str(home / "disk")), DeviceKind.cpu)


def test_folder_that_cannot_be_made_is_a_sentence(hub: HubServer, home: Path) -> None:
    """Before anything is fetched."""
    (home / "file").write_text("")
    with pytest.raises(ModelError, match=r"file/sdxl cannot be made: Not a directory\. Name"):
        fetched(SdxlModel(path=str(home / "file/sdxl")))
    assert not hub.asked


def test_variant_that_broke_off_does_not_spoil_the_other(
    hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it final with it, where it had come and was not compared."""
    plain = write_model(home / "others", None)
    for component in ("text_encoder", "text_encoder_2", "vae"):
        weight_file(plain, component, None).rename(weight_file(hub.folder, component, None))
    fetched(SdxlModel())
    with monkeypatch.context() as broken:
        broken.setattr("batchgen.storage.hashes.sha256", None)
        with pytest.raises(TypeError):
            fetched(SdxlModel(variant=None))
    assert fetched(SdxlModel())[1][0].startswith("It is here already")
    assert not fetched(SdxlModel(variant=None))[1][0].startswith("It is here already")


def test_variants_of_one_repository_do_not_forget_each_other(hub: HubServer, home: Path) -> None:
    """Their receipt is one; the second variant's files come beside the first's."""
    plain = write_model(home / "others", None)
    for component in ("text_encoder", "text_encoder_2", "vae"):
        weight_file(plain, component, None).rename(weight_file(hub.folder, component, None))
    fetched(SdxlModel())
    fetched(SdxlModel(variant=None))
    hub.asked.clear()
    for variant in ("fp16", None):
        assert fetched(SdxlModel(variant=variant))[1][0].startswith("It is here already")
    assert not hub.asked


def test_licence_of_another_model_is_not_made_up(hub: HubServer) -> None:
    """SDXL's own is known; Turbo's, for one, is another."""
    assert hub.url
    said = fetched(SdxlModel(hub_id="AI-ModelScope/sdxl-turbo"))[1]
    assert said[0].startswith("The licence of AI-ModelScope/sdxl-turbo: see its LICENSE")


def test_single_file_gets_what_it_lacks(hub: HubServer, home: Path) -> None:
    """Configs and tokenizers, a few MB; no tensors but its own."""
    model = SdxlModel(path=str(home / "mine.safetensors"))
    (home / "mine.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="cut off or damaged"):
        fetched(model)
    assert not [name for name, _ in hub.asked if name.endswith(".safetensors")]
    assert "tokenizer_2/vocab.json" in {name for name, _ in hub.asked}


def test_hugging_face_has_it_too(hub: HubServer, home: Path) -> None:
    """At a pinned commit; the second time without asking; wrong content is deleted."""
    done = command(home, hub, "--from", "hf")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert folder.is_relative_to(home / ".cache/huggingface/hub")
    hub.asked.clear()
    assert "It is here already" in command(home, hub, "--from", "hf").stdout
    assert not hub.asked


def test_hugging_faces_files_are_compared_here(hub: HubServer, home: Path) -> None:
    """Its library looks at sizes only."""
    hub.wrong = {UNET}
    done = command(home, hub, "--from", "hf")
    assert done.returncode == 2
    assert "is not the file that the hub has" in done.stderr
    assert "Traceback" not in done.stderr
