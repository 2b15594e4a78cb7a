//! Training: data, classifiers, gradients, and the experiment of the paper.
#![cfg(feature = "train")]

#[path = "../support/mod.rs"]
mod support;

mod command;
mod data;
mod model;
mod reproduce;
