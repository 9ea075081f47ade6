//! What other programs and the kernel say, turned into numbers. Pure: text in, values out, the error names the text.

pub(crate) mod procfs;
pub(crate) mod programs;
pub(crate) mod wrk;
