//! Nothing: the benches are in `benches/`, the comparison in `compare/`.
