//! The addresses of a registry's server, in one table: what is not in it is not served, and a test compares it with the description
//! of the interface.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, delete, get, put};

use super::registry_access::Served;
use super::registry_face::{self, file};
use super::{registry_api, registry_ownership};

/// What is done at an address, with the methods that it takes. `GET` also takes `HEAD`.
struct Route {
    path: &'static str,
    #[cfg_attr(not(test), allow(dead_code, reason = "a router does not say which methods it takes"))]
    methods: &'static [&'static str],
    action: MethodRouter<Arc<Served>>,
}

impl Route {
    fn new(path: &'static str, methods: &'static [&'static str], action: MethodRouter<Arc<Served>>) -> Self {
        Self { path, methods, action }
    }
}

fn routes() -> Vec<Route> {
    const READ: &[&str] = &["get"];
    vec![
        Route::new("/api/v1/openapi.json", READ, get(registry_api::description)),
        Route::new(
            "/api/v1/stages",
            &["get", "put"],
            get(registry_api::stages).merge(put(registry_api::publish)),
        ),
        Route::new(
            "/api/v1/stages/{name}/{version}/yank",
            &["put", "delete"],
            put(registry_api::yank).merge(delete(registry_api::yank)),
        ),
        Route::new("/api/v1/stages/{name}/owners", READ, get(registry_ownership::list)),
        Route::new(
            "/api/v1/stages/{name}/owners/{owner}",
            &["put", "delete"],
            put(registry_ownership::change).merge(delete(registry_ownership::change)),
        ),
        Route::new("/api/v1/me", READ, get(registry_api::me)),
        Route::new("/health", READ, get(registry_api::health)),
        Route::new("/metrics", READ, get(registry_api::metrics)),
        Route::new("/", READ, get(registry_face::registry_page)),
        Route::new("/stages/{name}", READ, get(registry_face::stage_page)),
        Route::new("/feed.atom", READ, get(registry_face::feed)),
        Route::new("/feeds/{file}", READ, get(registry_face::stage_feed)),
        Route::new("/assets/{file}", READ, get(registry_face::asset)),
        Route::new("/config.json", READ, get(file)),
        Route::new("/snapshot.json", READ, get(file)),
        Route::new("/archives/{name}/{file}", READ, get(file)),
        Route::new("/{first}/{second}", READ, get(file)),
        Route::new("/{first}/{second}/{name}", READ, get(file)),
    ]
}

/// Returns the router of all addresses.
pub(super) fn router() -> Router<Arc<Served>> {
    let all = routes().into_iter();
    let router = all.fold(Router::new(), |router, route| router.route(route.path, route.action));
    router.fallback(registry_face::nothing).method_not_allowed_fallback(registry_face::wrong_method)
}

#[cfg(test)]
#[path = "registry_routes_tests.rs"]
mod tests;
