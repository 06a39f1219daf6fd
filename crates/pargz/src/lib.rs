//! One gzip member from all cores, and back: compression, the index of its pieces, inflation
