"""All errors that edgeloop raises on purpose, as one tree; catch at any depth::

    EdgeloopError
    ├── ConfigError            a setting is wrong: which one, why, and the nearest right one
    ├── MessageError           a message violates the wire contract
    │   ├── BatchError         a whole batch cannot be read
    │   ├── EventTooLarge      one event is larger than the wire allows
    │   └── SealError          a message does not come from its claimed sender
    ├── SourceError            a source cannot be opened or its data is unusable
    │   ├── SourceFormatError  a file or stream does not have the promised form
    │   └── ReadingError       one reading is unusable, or the source has changed; the stream continues
    │       └── CapacityReached  a new subject is refused: the limit of the settings is reached
    ├── BundleError            a model bundle cannot be used
    │   ├── BundleIncomplete   a file that the manifest names is missing or differs
    │   ├── BundleIncompatible another app, a manifest from the future, an unknown runtime
    │   └── GoldenCaseFailed   the model does not reproduce its golden outputs
    ├── InferenceError         a model failed on a reading
    ├── OutboxError            the outbox cannot keep an event
    │   └── OutboxFull         the disk budget is used up by events that must not be evicted
    ├── LocalAlarmError        a local output does not accept an alarm
    ├── UpdateRefused          an update was refused; the node keeps its model
    ├── SettingsRefused        a change of a node's settings cannot be sent
    ├── SampleError            a sample cannot be kept or uploaded
    │   ├── UploadUnknown      there is no upload with this id
    │   ├── UploadConflict     a piece does not continue the upload, or another upload is in its way
    │   ├── UploadTooLarge     more bytes than the maximum
    │   ├── UploadsOpen        a node has as many unfinished uploads as it may
    │   ├── UploadNoSpace      no room for a sample now, on the disk or in a node's share
    │   └── SampleRefused      the content differs from its announcement, or is no sample
    ├── ArraysError            an .npz that is not one of plain arrays within its limits
    ├── DatasetError           a data set is absent or malformed
    ├── TrainingError          a training job cannot finish
    ├── GateRefused            a candidate is not better, or falls on a guarded slice
    ├── RolloutError           a rollout cannot be started or changed as requested
    ├── AppError               an app breaks its contract
    ├── RegistryError          a model version is unknown or already there
    │   └── VersionUnknown     there is no such version
    ├── BrokerError            the broker cannot be started
    ├── StoreError             the database cannot be reached, used or upgraded
    ├── BackupError            a backup cannot be taken, is not whole, or has no place to go
    ├── CloudError             the cloud cannot be reached, or refuses a command
    └── AccessDenied           a token is missing, wrong, or not allowed to do this
        └── LoginThrottled     too many wrong passwords: wait before the next

A message has the fault, its place, and what to do about it.
"""


class EdgeloopError(Exception):
    """Root of all errors that edgeloop raises on purpose."""


class ConfigError(EdgeloopError):
    """A setting is wrong."""


class MessageError(EdgeloopError):
    """A message violates the wire contract."""


class BatchError(MessageError):
    """A whole batch cannot be read."""


class EventTooLarge(MessageError):
    """One event is larger than the wire allows."""


class SealError(MessageError):
    """A message does not come from its claimed sender (`common.sealing`)."""


class SourceError(EdgeloopError):
    """A source cannot be opened or its data is unusable."""


class SourceFormatError(SourceError):
    """A file or stream does not have the form that its kind promises."""


class ReadingError(SourceError):
    """One reading is unusable, or the source has changed; the stream continues.

    ``kind`` is ``unusable``, ``changed`` (the source continues differently, such as in another file),
    ``lost`` (readings can no longer be read) or ``source`` (it fails and is opened again). ``count`` is the
    number of readings concerned, as far as known.
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
    """The model does not reproduce the golden outputs of its bundle, or not in time."""


class InferenceError(EdgeloopError):
    """A model failed on a reading."""


class OutboxError(EdgeloopError):
    """The outbox cannot keep an event."""


class OutboxFull(OutboxError):
    """The disk budget is used up by events that must not be evicted."""


class LocalAlarmError(EdgeloopError):
    """A local output does not accept an alarm."""


class UpdateRefused(EdgeloopError):
    """An update was refused; the node keeps its model.

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
    """A piece does not continue the upload, or another upload is in its way; ``offset``: its position."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class UploadTooLarge(SampleError):
    """More bytes than the maximum."""


class UploadsOpen(SampleError):
    """A node has as many unfinished uploads as it may."""


class UploadNoSpace(SampleError):
    """There is no room for a sample now, on the disk or in the node's share of it."""


class SampleRefused(SampleError):
    """The content differs from its announcement, or is no sample; nothing of it is kept."""


class ArraysError(EdgeloopError):
    """An ``.npz`` is not one of plain arrays within its limits."""


class DatasetError(EdgeloopError):
    """A data set is absent or malformed."""


class TrainingError(EdgeloopError):
    """A training job cannot finish."""


class GateRefused(EdgeloopError):
    """A candidate is not better than production, or falls on a guarded slice."""


class RolloutError(EdgeloopError):
    """A rollout cannot be started or changed as requested."""


class AppError(EdgeloopError):
    """An app breaks its contract; the message names the app and the part."""


class SettingsRefused(EdgeloopError):
    """A change of a node's settings cannot be sent."""


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
    """The cloud cannot be reached, or refuses a command; ``status`` is HTTP's, 0 for no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class AccessDenied(EdgeloopError):
    """A token is missing, wrong, or not allowed to do this."""


class LoginThrottled(AccessDenied):
    """Too many wrong passwords; ``wait_s`` is the delay before the next attempt."""

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s
