//! bsdf
