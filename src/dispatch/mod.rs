//! Claim → run → commit: keeps the GPU fed, keeps leases alive, commits results. Knows nothing of SQL, HTTP status codes or wgpu.

pub mod hub;
