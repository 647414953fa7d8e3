//! The front end: router, one file a resource, problem documents. The only module that knows status codes; it knows neither wgpu nor SQL.
