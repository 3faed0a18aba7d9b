//! Run one command in a root file system, with whatever confinement the place allows.
