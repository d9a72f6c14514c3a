"""The machine: trains a problem for many seeds and records observables; knows no experiment."""
