//! Decides what a pib build consists of. Pure: no file system, network, environment, clock or async.
//!
//! | module | what it decides |
//! |---|---|
//! | [`id`] | names, digests and architectures, valid by construction |
//! | [`size`] | numbers of bytes as people write them |
//! | [`board`] | the boards and what runs on them |
//! | [`boot`] | what the firmware reads until the kernel runs, and what would not start |
//! | [`variable`] | the project variables that a part may read |
//! | [`stage`] | what a stage says of itself |
//! | [`makefile`] | reads makefiles as text |
//! | [`import`] | a pi-builder tree to a `pib.toml` |
//! | [`manifest`] | `pib.toml` and `stage.toml`: schemas, places, edits |
//! | [`device_test`] | what a stage promises of the booted system, and whether that is kept |
//! | [`config`] | a stage's config: checks values, fills in defaults |
//! | [`credential`] | tokens for registries, and which of them goes where |
//! | [`object_address`] | addresses of content in buckets and OCI registries |
//! | [`hook`] | what a component must be to be a hook, and what hooks may use |
//! | [`index`] | sources, and what a registry knows of each version |
//! | [`registry_snapshot`] | what a registry's key signs: its index files by digest, and until when |
//! | [`stage_artifact`] | a version of a stage as an artifact of an OCI registry: its repository, tags and manifest |
//! | [`stage_change`] | what a new version of a stage changes for projects, and whether its number may say so |
//! | [`record`] | what earlier builds left, and why a stage is built again |
//! | [`resolve`] | requirements to one version of each stage, or an explanation |
//! | [`order`] | the order of the stages, and why |
//! | [`base`] | what a build starts from |
//! | [`snapshot`] | the packages that a base is made of |
//! | [`lockfile`] | `pib.lock` |
//! | [`recording`] | `pib.fetch.lock`: the responses that parts were given |
//! | [`relay`] | tells a Dockerfile of what records these responses |
//! | [`moment`] | a moment of the calendar |
//! | [`package_archive`] | archives of packages that bases are made of |
//! | [`signed_tarball`] | a base that a distribution publishes whole, and signs |
//! | [`workers`] | which engine builds which target, where there are several |
//! | [`packages`] | keeps what package managers download |
//! | [`vendor`] | the list of the stages that a project holds itself |
//! | [`dockerfile`] | writes instructions, and escapes what stands in them |
//! | [`stage_entry`] | what a shared cache has of a built stage |
//! | [`part`] | checks a `Dockerfile.part` |
//! | [`mode`] | the permissions of a stage's files |
//! | [`path`] | which paths a stage's files may have |
//! | [`build_stage`] | what the Dockerfile calls its build stages |
//! | [`merge`] | merges instructions where there are more than engines take |
//! | [`system`] | what an operating system has: kernels for boards, zones, locales |
//! | [`mounts`] | compares what an image says of its partitions with those that it has |
//! | [`assemble`] | ordered stages to Dockerfile, context and keys |
//! | [`layout`] | which partitions an image has, and where |
//! | [`settings`] | what differs between the cards of one image |
//! | [`secret`] | where secrets come from, and what a build calls them |
//! | [`network_scan`] | which devices of a network are Raspberry Pis |
//! | [`html`] | strangers' texts in pages |
//! | [`suggest`] | "did you mean" |

mod artifact_manifest;
pub mod assemble;
pub mod base;
pub mod board;
pub mod boot;
pub mod build_stage;
pub mod config;
pub mod credential;
pub mod device_test;
pub mod dockerfile;
pub mod emulation;
pub mod hook;
pub mod html;
pub mod id;
pub mod import;
pub mod index;
mod ingredients;
pub mod layout;
pub mod lockfile;
pub mod makefile;
pub mod manifest;
pub mod merge;
pub mod metadata;
pub mod mode;
pub mod moment;
pub mod mounts;
pub mod native;
pub mod network_scan;
pub mod object_address;
pub mod order;
pub mod package_archive;
pub mod packages;
pub mod part;
pub mod path;
pub mod publisher;
pub mod record;
pub mod recording;
pub mod redaction;
pub mod registry_snapshot;
pub mod relay;
pub mod resolve;
pub mod secret;
pub mod settings;
pub mod signed_tarball;
pub mod size;
pub mod snapshot;
pub mod snapshot_artifact;
pub mod stage_artifact;
pub mod stage_change;
pub mod stage_entry;
pub mod suggest;
pub mod system;
pub mod variable;
pub mod vendor;
pub mod workers;
