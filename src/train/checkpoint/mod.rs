//! Trained classifiers as checkpoint directories.
