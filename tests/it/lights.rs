//! lights
