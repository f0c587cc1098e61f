"""Object stores: what lies behind ``s3://``, ``gs://`` and ``az://``, and how it is read and written.

An object is known by its address, size, ETag and version. It is fetched once, on the condition that it is still the one
that was listed, to a folder of this machine; there it is read as any file, so that every form of file that can be read
can be read from a store. Objects are written by one request that takes effect whole or not at all, and replaced only on
the condition that nobody has replaced them before.

Owns every request (through `obstore`, extra ``cloud``). Secrets come from the environment or a profile, never from a
project file, and no answer of a store is shown: it may hold names of accounts.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fraudctl.disk import files as disk
from fraudctl.errors import DataError, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES: Final = frozenset({"s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl"})
_ADDRESS: Final = re.compile(r"([a-z0-9]+)://([^/]+)(?:/(.*))?", re.DOTALL)
_SIGNS: Final = re.compile(r"[*?\[]")
_AT_ONCE: Final = 8
"""Objects that are fetched at the same time."""
_CHUNK: Final = 8 << 20
_RETRIES: Final = {"max_retries": 4}
_HINT: Final = "install the extra: pip install 'fraudctl[cloud]'"


@dataclass(frozen=True)
class Settings:
    """``[storage]`` of a project file; null takes what the environment says."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


@dataclass(frozen=True)
class StoredObject:
    """One object as a store lists it."""

    address: str
    size: int
    etag: str | None
    version: str | None

    @property
    def sha256(self) -> str:
        """A SHA-256 that changes with its address, size, ETag and version."""
        parts = (self.address, str(self.size), self.etag or "", self.version or "")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class RacedError(Exception):
    """Somebody else has written the object since it was read."""


@dataclass
class _Present:
    """The settings that hold, where objects are kept, and what was listed under them."""

    settings: Settings
    cache: Path | None


_present = _Present(Settings(), None)
_listed: dict[str, StoredObject] = {}


def begin(settings: Settings, cache: Path | None) -> None:
    """Take settings and a place for copies of objects; what was listed before is asked for again."""
    _present.settings, _present.cache = settings, cache
    _listed.clear()
    found.cache_clear()
    _store.cache_clear()


def is_address(text: str) -> bool:
    """Return whether a text is an address in an object store.

    >>> is_address("s3://bucket/x.parquet"), is_address("https://host/x"), is_address("/tmp/s3:/x")
    (True, False, False)
    """
    match = _ADDRESS.fullmatch(text)
    return match is not None and match[1] in SCHEMES


def parts(address: str) -> tuple[str, str, str]:
    """Return scheme, bucket and key of an address.

    >>> parts("s3://bucket/a/b.parquet")
    ('s3', 'bucket', 'a/b.parquet')
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        msg = f"{address} is no address of an object store"
        raise UsageError(msg)
    return match[1], match[2], (match[3] or "").strip("/")


# reading


@functools.lru_cache(maxsize=256)
def found(address: str) -> tuple[StoredObject, ...]:
    """Return the objects behind an address: one object, all below a folder, or those that a glob matches, by key.

    Raises
    ------
    DataError
        The store cannot be asked, or the bucket is not there. No object at all is no error.
    """
    scheme, bucket, key = parts(address)
    root = f"{scheme}://{bucket}/"
    if _SIGNS.search(key):
        fixed = key[: _SIGNS.search(key).start()].rpartition("/")[0]  # type: ignore[union-attr]
        matches = _matcher(key)
        return tuple(item for item in _below(root, fixed) if matches(parts(item.address)[2]))
    likely_file = "." in key.rpartition("/")[2]
    if likely_file and (one := _head(address)) is not None:
        return (one,)
    listed = _below(root, key)
    if listed or likely_file or not key:
        return listed
    one = _head(address)
    return () if one is None else (one,)


def _below(root: str, prefix: str) -> tuple[StoredObject, ...]:
    out = []
    with explained(root + prefix):
        for batch in _obstore().list(_store(root), prefix or None):
            out += [_noted(root, item) for item in batch]
    return tuple(sorted(out, key=lambda item: item.address))


def _head(address: str) -> StoredObject | None:
    root, key = _root(address)
    try:
        with explained(address):
            return _noted(root, _obstore().head(_store(root), key))
    except FileNotFoundError:
        return None


def _noted(root: str, item: Any) -> StoredObject:
    found = StoredObject(root + item["path"], item["size"], item["e_tag"], item["version"])
    _listed[found.address] = found
    return found


def _root(address: str) -> tuple[str, str]:
    scheme, bucket, key = parts(address)
    return f"{scheme}://{bucket}/", key


def _matcher(pattern: str) -> Any:
    """Return what matches keys: ``*`` and ``?`` within a folder, ``**`` over folders, ``[...]`` one of the signs."""
    text = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    text = re.sub(r"\\\[(!?)(.*?)\\\]", lambda m: f"[{'^' if m[1] else ''}{m[2]}]", text.replace(r"\?", "[^/]"))
    return re.compile(text).fullmatch


def known(address: str) -> StoredObject:
    """Return an object as it was listed, else as the store describes it now.

    Raises
    ------
    DataError
        There is none, or the store cannot be asked.
    """
    item = _listed.get(address) or _head(address)
    if item is None:
        raise _no_object(address)
    return item


def local(address: str) -> Path:
    """Return a copy of an object on this machine, fetched now unless it is there.

    Raises
    ------
    DataError
        The object is gone or was replaced since it was listed, or cannot be fetched.
    """
    item = known(address)
    scheme, bucket, key = parts(address)
    folder, _, name = key.rpartition("/")
    place = _cache() / scheme / bucket / folder / f"{item.sha256[:16]}-{name}"
    if place.is_file() and place.stat().st_size == item.size:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    _fetch(item, place)
    for old in place.parent.glob(f"{'[0-9a-f]' * 16}-*"):
        if old.name[17:] == name and old != place:
            old.unlink(missing_ok=True)
    return place


def fetched(addresses: Sequence[str]) -> list[Path]:
    """Return what `local` does for several objects, some at a time."""
    if len(addresses) == 1:
        return [local(addresses[0])]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(local, addresses))


def with_addresses(text: str, addresses: Sequence[str]) -> str:
    """Return a message about copies of objects as one about the objects."""
    for address in addresses:
        text = text.replace(str(local(address)), address)
    return text


def on_disk(names: Sequence[str]) -> list[str]:
    """Return names of files, with those of copies for objects of a store."""
    return [str(local(name)) if is_address(name) else name for name in names]


def _fetch(item: StoredObject, place: Path) -> None:
    root, key = _root(item.address)
    try:
        with disk.whole_file(place, durable=False, mode=0o600) as temporary, explained(item.address):
            answer = _obstore().get(_store(root), key, options={"if_match": item.etag} if item.etag else None)
            with temporary.open("wb") as file:
                for chunk in answer.stream(min_chunk_size=_CHUNK):
                    file.write(chunk)
    except FileNotFoundError as error:
        raise _no_object(item.address) from error
    except RacedError as error:
        msg = f"{item.address}: was replaced while it was read"
        raise DataError(msg, hint="run the command again") from error


def _cache() -> Path:
    if _present.cache is None:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(base) / "fraudctl" / "objects"
    return _present.cache


def read(address: str) -> tuple[bytes, str | None] | None:
    """Return the content of an object and its ETag; None where there is none.

    Raises
    ------
    DataError
        The store cannot be asked.
    """
    root, key = _root(address)
    try:
        with explained(address):
            answer = _obstore().get(_store(root), key)
            return bytes(answer.bytes()), answer.meta["e_tag"]
    except FileNotFoundError:
        return None


# writing


def require_reachable(address: str) -> None:
    """Refuse, before any work is done, an address that cannot be written: no key, no such bucket, no credentials.

    Raises
    ------
    UsageError
        It has no key, or the store refuses to be asked.
    """
    key = parts(address)[2]
    if not key or address.endswith("/"):
        msg = f"{address} is a bucket or a folder; expected the address of an object"
        raise UsageError(msg)
    try:
        _head(address)
    except DataError as error:
        raise UsageError(error.message, hint=error.hint) from error


@contextlib.contextmanager
def whole_object(address: str) -> Iterator[Path]:
    """Yield a temporary path; what was written there becomes the object if the block succeeds, in one request.

    Raises
    ------
    UsageError
        The object cannot be written; what was there before is still there.
    """
    import tempfile

    root, key = _root(address)
    with disk.temporary_folder(Path(tempfile.gettempdir()), "fraudctl-object") as folder:
        path = folder / (key.rpartition("/")[2] or "object")
        yield path
        try:
            with explained(address):
                _obstore().put(_store(root), key, path)
        except (DataError, FileNotFoundError) as error:
            raise _unwritten(address, error) from error
    _listed.pop(address, None)
    found.cache_clear()


def replace(address: str, content: bytes, *, seen: str | None) -> None:
    """Write an object on the condition that it is still the one with the ETag ``seen``, or that there is none.

    Raises
    ------
    RacedError
        Somebody else has written it since.
    UsageError
        It cannot be written.
    """
    root, key = _root(address)
    try:
        with explained(address):
            _obstore().put(_store(root), key, content, mode="create" if seen is None else {"e_tag": seen},
                        use_multipart=False)  # fmt: skip
    except (DataError, FileNotFoundError) as error:
        raise _unwritten(address, error) from error


def _unwritten(address: str, error: Exception) -> UsageError:
    if isinstance(error, DataError):
        return UsageError(error.message, hint=error.hint)
    return UsageError(f"{address}: no such bucket", hint="check the name of the bucket, [storage] region and endpoint")


# the store itself, and its errors


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        msg = "the data are in an object store, and obstore is not installed"
        raise DataError(msg, hint=_HINT) from error
    return obstore


@functools.lru_cache(maxsize=32)
def _store(root: str) -> ObjectStore:
    options: dict[str, object] = {"retry_config": _RETRIES}
    settings = _present.settings
    endpoint = settings.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint is not None and endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    if root.startswith("s3"):
        options |= {"endpoint": endpoint} if endpoint is not None else {}
        options |= {"region": settings.region} if settings.region is not None else {}
        options |= {"credential_provider": _credentials(settings.profile)} if settings.profile is not None else {}
    store: ObjectStore = _obstore().store.from_url(root.replace("s3a://", "s3://"), **options)
    return store


def _credentials(profile: str) -> Callable[[], Mapping[str, Any]]:
    """Return what gives the credentials of S3 of the profile that the project names."""
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        msg = f"[storage] profile = {profile!r} is read by boto3, which is not installed"
        raise DataError(msg, hint=_HINT) from error
    try:
        session = boto3.Session(profile_name=profile)
    except Exception as error:
        msg = f"[storage] profile: there is no profile {profile!r}"
        raise DataError(msg, hint="`aws configure list-profiles` names those that are there") from error
    provider: Callable[[], Mapping[str, Any]] = Boto3CredentialProvider(session)
    return provider


def options_of(address: str) -> dict[str, str]:
    """Return settings and credentials of S3 as other libraries take them; what the environment says they find there."""
    settings = _present.settings
    out: dict[str, str] = {}
    endpoint = settings.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not address.startswith("s3"):
        return out
    if endpoint is not None:
        out |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
    if settings.region is not None:
        out["AWS_REGION"] = settings.region
    if settings.profile is not None:
        found = _credentials(settings.profile)()
        names = {"access_key_id": "AWS_ACCESS_KEY_ID", "secret_access_key": "AWS_SECRET_ACCESS_KEY"}
        names["token"] = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a variable
        out |= {name: found[key] for key, name in names.items() if found.get(key)}
    return out


_REASONS: Final = (
    ("NoSuchBucket|ContainerNotFound|bucket does not exist", "there is no bucket {bucket!r}",
     "check its name, and [storage] region and endpoint"),
    ("InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|401 Unauthorized|TokenRefreshRequired",
     "the credentials were refused", "renew them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or [storage] profile"),
    ("AuthorizationHeaderMalformed|PermanentRedirect|301 Moved|IllegalLocationConstraint",
     "bucket {bucket!r} is in another region", "say which: [storage] region, or AWS_REGION"),
    ("169\\.254\\.|metadata\\.google|[Mm]issing|NoCredentials|CredentialsError|oauth|identity",
     "no credentials were found", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a [storage] profile"),
    ("AccessDenied|403 Forbidden", "the credentials may not do this in bucket {bucket!r}",
     "ask for the right to list, read and write there"),
    ("error sending request|dns error|connect|timed out", "the store cannot be reached",
     "check the network and [storage] endpoint"),
)  # fmt: skip


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """Raise a DataError that says what is wrong: bucket, region, credentials, network.

    A missing object stays a `FileNotFoundError`, a failed condition becomes a `RacedError`.
    """
    try:
        yield
    except FileNotFoundError as error:
        if re.search("NoSuchBucket|ContainerNotFound", str(error)):
            raise _trouble(address, error) from error
        raise
    except Exception as error:
        if not type(error).__module__.startswith("obstore") and not isinstance(error, PermissionError):
            raise
        if type(error).__name__ in {"PreconditionError", "AlreadyExistsError"}:
            raise RacedError(address) from error
        raise _trouble(address, error) from error


def _trouble(address: str, error: Exception) -> DataError:
    _, bucket, _ = parts(address)
    for pattern, what, hint in _REASONS:
        if re.search(pattern, str(error)):
            return DataError(f"{address}: {what.format(bucket=bucket)}", hint=hint)
    msg = f"{address}: the store answered with an error ({type(error).__name__})"
    return DataError(msg, hint="check [storage], the credentials and the name of the bucket")


def _no_object(address: str) -> DataError:
    _, bucket, key = parts(address)
    return DataError(f"no object {key!r} in bucket {bucket!r}: {address}", hint="check the key")
