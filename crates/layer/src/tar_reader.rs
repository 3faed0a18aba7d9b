//! Reads tar archives with bounds on everything.
