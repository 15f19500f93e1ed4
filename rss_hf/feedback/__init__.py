"""Answers that were paid for, on disk: what one is, and where they are kept."""

from .records import Answer, digest
from .store import FeedbackStore


__all__ = ["Answer", "FeedbackStore", "digest"]
