"""The row of an image in the metadata, or in the failures."""

from __future__ import annotations

import time

from batchgen.images.image_file import Saved
from batchgen.images.parameters import RNG
from batchgen.ledger.records import Record, encode_carried
from batchgen.plan.requests import ImageRequest
from batchgen.runner.maker import Failed, Made


def image_record(made: Made, saved: Saved, of_job: Record) -> Record:
    """Return the row of a finished image; `of_job` holds the columns that only the job knows."""
    call = made.call
    return {
        **_settings(made.request),
        "token_count": made.picture.token_count,
        "truncated": made.picture.truncated,
        "batch_id": call.batch.batch_id,
        "batch_position": made.position,
        "batch_size": len(call.batch.requests),
        "rung": str(call.rung),
        "vae_float32": call.vae_float32,
        "warm_up": call.generation.warm_up,
        "latency_s": call.latency_s,
        "encode_s": call.generation.encode_s,
        "denoise_s": call.generation.denoise_s,
        "decode_s": call.generation.decode_s,
        "peak_memory_bytes": call.generation.peak_memory_bytes,
        "pixel_sha256": saved.pixel_sha256,
        "file_sha256": saved.file_sha256,
        "created_at": _now_us(),
        "carried": encode_carried(made.request.carried),
        **of_job,
    }


def failure_record(failed: Failed, attempt: int, *, is_final: bool, run_id: str) -> Record:
    """Return the row of failures.parquet for an image that could not be made."""
    return {
        **_settings(failed.request),
        "attempt": attempt,
        "is_final": is_final,
        "error_type": type(failed.error).__name__,
        "message": failed.message,
        "traceback": failed.traceback,
        "batch_size": failed.batch_size,
        "run_id": run_id,
        "failed_at": _now_us(),
    }


def _settings(image: ImageRequest) -> Record:
    return {
        "row_key": image.row_key,
        "row_index": image.row_index,
        "image_index": image.image_index,
        "fingerprint": image.fingerprint,
        "rng": RNG,
        **image.settings.as_columns(),
    }


def _now_us() -> int:
    return time.time_ns() // 1000
