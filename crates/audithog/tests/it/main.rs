//! audithog as its users see it: the public API only, real sockets, real files.

mod one_row;
mod pipeline;
