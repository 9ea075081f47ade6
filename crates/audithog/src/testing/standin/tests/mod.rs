//! Tests over a real socket, with a client of a few lines that can say anything.

mod client;
mod faults;
mod handle;
mod private;
mod readback;
mod v0;
mod v0_bodies;
mod v0_times;
mod v1;
mod v1_events;
