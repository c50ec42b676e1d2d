import functools
import gzip
import hashlib
import http.server
import io
import pickle
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.schema import Task
from pipeline.data import arrays, imdb, registry
from pipeline.data.synthetic import generate
from pipeline.errors import FairsweepError

GENERATED = Task(name="synthetic", source="synthetic", length=40, vocabulary=160)
NPZ = Task(name="imdb_npz", source="imdb_npz", length=4, vocabulary=10)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine must not leave it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def local(archive: Path, **changes: str) -> Task:
    return Task(name="imdb", source="imdb", archive=str(archive), **changes)


def tar_of(path: Path, files: dict[str, str], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for entry in extra:
            tar.addfile(entry)
    return path


def small_archive() -> dict[str, str]:
    files = {}
    for part, group in (("train", 1), ("test", 2)):
        for side in ("neg", "pos"):
            files[f"aclImdb/{part}/{side}/0_5.txt"] = f"A {side} film."
            files[f"aclImdb/{part}/urls_{side}.txt"] = (
                f"http://www.imdb.com/title/tt000000{group}/usercomments\n"
            )
    return files


def test_generated_bytes_depend_on_the_seed_alone(generated_archive: Path, tmp_path: Path) -> None:
    generate(tmp_path / "same.tar.gz")
    generate(tmp_path / "other.tar.gz", seed=1)
    assert (tmp_path / "same.tar.gz").read_bytes() == generated_archive.read_bytes()
    assert (tmp_path / "other.tar.gz").read_bytes() != generated_archive.read_bytes()


def test_generated_reviews_are_like_the_real_ones(tmp_path: Path) -> None:
    corpus = registry.read(GENERATED, registry.fetch(GENERATED, tmp_path))
    for reviews, rows in ((corpus.train, 1600), (corpus.test, 1000)):
        assert len(reviews.texts) == rows
        assert reviews.labels.mean() == 0.5
        lengths = [len(text.split()) for text in reviews.texts]
        assert min(lengths) == 5
        assert max(lengths) == 60
    assert not set(corpus.train.groups) & set(corpus.test.groups)


def test_a_local_copy_is_checked_and_copied(generated_archive: Path, tmp_path: Path) -> None:
    digest, files = imdb.content(generated_archive, "synthetic")
    assert files == "2,604 files"
    archive = registry.fetch(local(generated_archive, digest=digest), tmp_path)
    assert archive == tmp_path / "reviews.tar.gz"
    assert archive.read_bytes() == generated_archive.read_bytes()


def test_digest_sees_content_not_packing(tmp_path: Path) -> None:
    files = small_archive()
    one = tar_of(tmp_path / "one.tar.gz", files)
    other = tar_of(
        tmp_path / "other.tar.gz", {"aclImdb/README": "more", **dict(reversed(files.items()))}
    )
    assert imdb.content(one, "one") == imdb.content(other, "other")


def test_missing_local_copy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match=r"/nowhere/reviews\.tar\.gz"):
        registry.fetch(local(Path("/nowhere/reviews.tar.gz")), tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_content_is_refused(generated_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(FairsweepError) as error:
        registry.fetch(local(generated_archive, digest="0" * 64), tmp_path)
    assert "50,004 files, digest 000" in str(error.value)
    assert f"2,604 files, digest {imdb.content(generated_archive, '')[0]}" in str(error.value)
    assert str(generated_archive) in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_cut_archive_is_refused(generated_archive: Path, tmp_path: Path, share: float) -> None:
    whole = generated_archive.read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole[: int(share * len(whole))])
    folder = tmp_path / "archive"
    with pytest.raises(FairsweepError, match=rf"cut or damaged .*{cut.stat().st_size:,} bytes"):
        registry.fetch(local(cut, digest="0" * 64), folder)
    assert not list(folder.iterdir())


def test_a_cut_archive_says_after_which_file(generated_archive: Path, tmp_path: Path) -> None:
    plain = gzip.decompress(generated_archive.read_bytes())
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(gzip.compress(plain[: 512 * 101 + 10]))
    with pytest.raises(FairsweepError, match=r"after aclImdb/test/neg/50_\d\.txt.* 50 of"):
        registry.read(local(cut), cut)


def test_only_regular_files_of_the_layout_are_read(tmp_path: Path) -> None:
    link = tarfile.TarInfo("aclImdb/train/pos/7_9.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    files = {
        **small_archive(),
        "/aclImdb/train/pos/8_9.txt": "absolute",
        "../aclImdb/train/pos/9_9.txt": "above",
    }
    corpus = registry.read(GENERATED, tar_of(tmp_path / "odd.tar.gz", files, link))
    assert corpus.train.texts == ["a neg film", "a pos film"]
    assert corpus.train.labels.tolist() == [0, 1]
    assert corpus.train.groups == ["tt0000001", "tt0000001"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"aclImdb/train/pos/1_9.txt": "no movie"},
            r"train/urls_pos\.txt .* has 1 lines, so review 1",
        ),
        ({"aclImdb/train/pos/1_9.txt": "x" * 1_000_001}, "1,000,001 bytes"),
        ({"aclImdb/test/urls_neg.txt": "nothing\n"}, "'nothing', which names no movie"),
    ],
)
def test_odd_archives_are_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    archive = tar_of(tmp_path / "odd.tar.gz", small_archive() | changes)
    with pytest.raises(FairsweepError, match=message):
        registry.read(GENERATED, archive)


def test_an_archive_without_reviews_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match="is it the right archive"):
        registry.read(GENERATED, tar_of(tmp_path / "empty.tar.gz", {"README": "?"}))


@pytest.mark.parametrize(
    ("source", "variable"), [("imdb", "IMDB_ARCHIVE"), ("imdb_npz", "IMDB_NPZ")]
)
def test_offline_fails_and_says_what_to_do(tmp_path: Path, source: str, variable: str) -> None:
    url = "http://127.0.0.1:9/reviews.tar.gz"
    with pytest.raises(FairsweepError) as error:
        registry.fetch(Task(name="imdb", source=source, url=url, checksum="md5:0"), tmp_path)
    for part in (url, "refused", f"{variable}=/path/", "make run", "task.archive=/path/"):
        assert part in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_download_is_checked_and_not_repeated(generated_archive: Path, tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(generated_archive.parent))
    checksum = hashlib.md5(generated_archive.read_bytes()).hexdigest()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/reviews.tar.gz"
        task = Task(name="imdb", source="imdb", url=url, checksum=f"md5:{checksum}")
        archive = registry.fetch(task, tmp_path)
        with pytest.raises(
            FairsweepError, match=r"(?s)nothing\.tar\.gz could not be downloaded: 404.*IMDB_ARCHIVE"
        ):
            registry.fetch(replace(task, url=url.replace("reviews", "nothing")), tmp_path / "other")
        server.shutdown()
    assert archive.read_bytes() == generated_archive.read_bytes()
    assert registry.fetch(task, tmp_path) == archive


def test_an_archive_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(FairsweepError, match=r"pipeline\.download"):
        registry.archive_in(GENERATED, tmp_path)


def npz_of(path: Path, rows: object, protocol: int = 3) -> Path:
    """Laid out as Keras's: an object array is a header and a pickle."""
    with zipfile.ZipFile(path, "w") as file:
        for part in ("train", "test"):
            stream = io.BytesIO()
            np.lib.format.write_array_header_1_0(
                stream, {"descr": "|O", "fortran_order": False, "shape": (2,)}
            )
            pickle.dump(rows, stream, protocol)
            file.writestr(f"x_{part}.npy", stream.getvalue())
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.array([0, 1]), allow_pickle=False)
            file.writestr(f"y_{part}.npy", stream.getvalue())
    return path


def object_array(*rows: object) -> np.ndarray:
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


class Evil:
    """What a hostile pickle looks like: it asks for a call."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_npz_ranks_become_keras_ids(tmp_path: Path, protocol: int) -> None:
    archive = npz_of(tmp_path / "imdb.npz", object_array([1, 5, 6, 7], [2]), protocol)
    corpus = registry.read(
        NPZ, registry.fetch(replace(NPZ, archive=str(archive)), tmp_path / "archive")
    )
    arrays.write(corpus, NPZ, tmp_path / "arrays", tmp_path / "sealed")
    tokens = np.load(tmp_path / "arrays" / "test_tokens.npy").tolist()
    # Start is 1, rank 1 is 4, and rank 7 would be 10, which a vocabulary of 10 has no row for.
    assert sorted(tokens) == [[0, 0, 1, 5], [4, 8, 9, 2]]
    assert arrays.load_vocabulary(tmp_path / "arrays") == {}
    assert not arrays.load(tmp_path / "arrays", NPZ, 0).by_group


def test_npz_as_numpy_writes_it(tmp_path: Path) -> None:
    rows, labels = object_array([1, 2], [3]), np.array([1, 0])
    np.savez(tmp_path / "imdb.npz", x_train=rows, y_train=labels, x_test=rows, y_test=labels)
    assert registry.read(NPZ, tmp_path / "imdb.npz").train.texts == ["1 2", "3"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (object_array([1], Evil()), "which no array needs"),
        (Evil(), "which no array needs"),
        (object_array([1], [2.5]), "must hold word ranks from 1 to"),
        (object_array([1], [0]), "must hold word ranks from 1 to"),
        (object_array([1]), "does not hold an array of shape"),
        ([[1], [2]], "does not hold an array of shape"),
    ],
)
def test_npz_with_anything_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FairsweepError, match=message):
        registry.read(NPZ, npz_of(tmp_path / "imdb.npz", rows))
    assert not (tmp_path / "evil").exists()


def test_npz_digest_is_that_of_the_file(tmp_path: Path) -> None:
    archive = npz_of(tmp_path / "imdb.npz", object_array([1], [2]))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    registry.fetch(replace(NPZ, archive=str(archive), digest=digest), tmp_path / "archive")
    with pytest.raises(FairsweepError, match=f"found: .* bytes, digest {digest}"):
        registry.fetch(replace(NPZ, archive=str(archive), digest="0" * 64), tmp_path / "archive")
