//! Image layers: deterministic tar, safe apply, diffs of file systems, codecs.
