"""Every error that edgeloop raises on purpose, as one tree.

Catch at the depth that you care for::

    EdgeloopError
    ├── ConfigError            a setting is wrong: which one, why, and the nearest right one
    ├── MessageError           something on the wire is not what the contract says
    │   ├── BatchError         a whole batch cannot be read
    │   ├── EventTooLarge      one event is larger than the wire allows
    │   └── SealError          a message does not come from whom it should
    ├── SourceError            a source cannot be opened or gave something unusable
    │   ├── SourceFormatError  a file or stream does not have the promised form
    │   └── ReadingError       one reading is unusable, or the source changed; the stream goes on
    │       └── CapacityReached  a new subject is refused: as many are held as the settings allow
    ├── BundleError            a model bundle cannot be used
    │   ├── BundleIncomplete   a file that the manifest names is missing or differs
    │   ├── BundleIncompatible another app, a manifest from the future, an unknown runtime
    │   └── GoldenCaseFailed   the model does not give the outputs that it promised
    ├── InferenceError         a model failed on a reading
    ├── OutboxError            the outbox cannot keep an event
    │   └── OutboxFull         the disk budget is used up by events that must not be evicted
    ├── LocalAlarmError        an output at the machine does not take an alarm
    ├── UpdateRefused          an update was refused; the node keeps the model that it has
    ├── SampleError            a sample cannot be kept or uploaded
    │   ├── UploadUnknown      there is no upload with this id
    │   ├── UploadConflict     a piece does not continue the upload, or another upload is in its way
    │   ├── UploadTooLarge     more bytes than are taken
    │   ├── UploadsOpen        a node has as many unfinished uploads as it may
    │   ├── UploadNoSpace      no room for a sample now, on the disk or in a node's share
    │   └── SampleRefused      the content is not what was announced, or not a sample
    ├── ArraysError            an .npz that is not one of plain arrays within its limits
    ├── DatasetError           a data set is absent or malformed
    ├── TrainingError          a training job cannot finish
    ├── GateRefused            a candidate is not better, or falls on a guarded slice
    ├── RolloutError           a rollout cannot be started or changed as asked
    ├── AppError               an app breaks its contract
    ├── RegistryError          a model version is unknown or already there
    │   └── VersionUnknown     there is no such version
    ├── BrokerError            the broker cannot be started
    ├── StoreError             the database cannot be reached, used or upgraded
    ├── BackupError            a backup cannot be taken, is not whole, or has no place to go
    ├── CloudError             the cloud cannot be reached, or refuses what a command asks
    └── AccessDenied           a token is missing, wrong, or not allowed to do this
        └── TooManyTries       too many wrong passwords: wait before the next

A message says what is wrong, where, and what to do about it.
"""


class EdgeloopError(Exception):
    """Root of all errors that edgeloop raises on purpose."""


class ConfigError(EdgeloopError):
    """A setting is wrong."""


class MessageError(EdgeloopError):
    """Something on the wire is not what the contract says."""


class BatchError(MessageError):
    """A whole batch cannot be read."""


class EventTooLarge(MessageError):
    """One event is larger than the wire allows."""


class SealError(MessageError):
    """A message does not come from whom it should (`common.sealing`)."""


class SourceError(EdgeloopError):
    """A source cannot be opened or gave something unusable."""


class SourceFormatError(SourceError):
    """A file or stream does not have the form that its kind promises."""


class ReadingError(SourceError):
    """One reading is unusable, or something else is to be told of the source; the stream goes on.

    ``kind`` is ``unusable``, ``changed`` (the source goes on in another way, such as in another file) or
    ``lost`` (readings that were there cannot be read any more). ``count`` is how many readings it is about,
    as far as is known.
    """

    def __init__(self, message: str, kind: str = "unusable", count: int = 1) -> None:
        super().__init__(message)
        self.kind = kind
        self.count = count


class CapacityReached(ReadingError):
    """A new subject is refused: the app holds ``limit`` others, as many as its settings allow."""

    def __init__(self, message: str, subject: str, limit: int) -> None:
        super().__init__(message)
        self.subject = subject
        self.limit = limit


class BundleError(EdgeloopError):
    """A model bundle cannot be used."""


class BundleIncomplete(BundleError):
    """A file that the manifest names is missing or differs from its digest."""


class BundleIncompatible(BundleError):
    """The bundle is for another app or for a newer edgeloop."""


class GoldenCaseFailed(BundleError):
    """The model does not give the outputs that its bundle promises, or not in time."""


class InferenceError(EdgeloopError):
    """A model failed on a reading."""


class OutboxError(EdgeloopError):
    """The outbox cannot keep an event."""


class OutboxFull(OutboxError):
    """The disk budget is used up by events that must not be evicted."""


class LocalAlarmError(EdgeloopError):
    """An output at the machine does not take an alarm."""


class UpdateRefused(EdgeloopError):
    """An update was refused; the node keeps the model that it has.

    ``reason`` is one of the words that are counted in metrics and reported to the cloud.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SampleError(EdgeloopError):
    """A sample cannot be kept or uploaded."""


class UploadUnknown(SampleError):
    """There is no upload with this id."""


class UploadConflict(SampleError):
    """A piece does not continue the upload, or another upload is in its way; ``offset`` is where to go on."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class UploadTooLarge(SampleError):
    """More bytes than are taken."""


class UploadsOpen(SampleError):
    """A node has as many unfinished uploads as it may."""


class UploadNoSpace(SampleError):
    """There is no room for a sample now, on the disk or in the node's share of it."""


class SampleRefused(SampleError):
    """The content is not what was announced, or not a sample; nothing of it is kept."""


class ArraysError(EdgeloopError):
    """An ``.npz`` is not one of plain arrays within its limits."""


class DatasetError(EdgeloopError):
    """A data set is absent or malformed."""


class TrainingError(EdgeloopError):
    """A training job cannot finish."""


class GateRefused(EdgeloopError):
    """A candidate is not better than production, or falls on a guarded slice."""


class RolloutError(EdgeloopError):
    """A rollout cannot be started or changed as asked."""


class AppError(EdgeloopError):
    """An app breaks its contract; the message names the app and the part."""


class RegistryError(EdgeloopError):
    """A model version is unknown or already there."""


class VersionUnknown(RegistryError):
    """There is no such version."""


class BrokerError(EdgeloopError):
    """The broker cannot be started."""


class StoreError(EdgeloopError):
    """The database cannot be reached, used or upgraded."""


class BackupError(EdgeloopError):
    """A backup cannot be taken, is not whole, or has no place to go."""


class CloudError(EdgeloopError):
    """The cloud cannot be reached, or refuses what a command asks; ``status`` is HTTP's, 0 for no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class AccessDenied(EdgeloopError):
    """A token is missing, wrong, or not allowed to do this."""


class TooManyTries(AccessDenied):
    """Too many wrong passwords; ``wait_s`` is how long to wait before the next try."""

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s
