//! PostHog's own SDKs, unchanged, against the stand-in: see `tests/`.
