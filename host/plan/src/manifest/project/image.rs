//! How the image is written: `[image]`.

use std::ops::Range;

use toml::Spanned;

use super::facts::Project;
use super::options::{Bill, Compression};
use super::schema::ImageSchema;
use crate::boot::model;
use crate::layout::{Layout, LayoutError, PartitionTable};
use crate::manifest::{ManifestError, ManifestText};

/// How the image is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// Whether a compressed copy is what the build leaves.
    pub compress: Compression,
    /// The bills of materials that the build leaves beside the image.
    pub sbom: Vec<Bill>,
    /// The partitions: the project's, or those that the operating system calls for.
    pub layout: Layout,
}

impl ImageOptions {
    /// Checks what a manifest says in `[image]`.
    pub(super) fn check(
        source: &ManifestText,
        schema: ImageSchema,
        project: &Project,
    ) -> Result<Self, ManifestError> {
        let ImageSchema { compress, mut sbom, table, size, a_b, partitions, foreign_root, writer } = schema;
        sbom.dedup();
        let spans: Vec<_> = partitions.iter().map(Spanned::span).collect();
        let size_span = size.as_ref().map(Spanned::span);
        let mut layout = Layout { foreign_root, writer, ..Layout::default_for(&project.os) };
        if let Some(table) = table {
            check_table(source, &table, project)?;
            layout.table = table.into_inner();
        }
        layout.size = size.map(Spanned::into_inner);
        if !partitions.is_empty() {
            layout.partitions = partitions.into_iter().map(Spanned::into_inner).collect();
        }
        // First as it is written: the lines that are to blame are those of this.
        layout.check().map_err(|error| at_fault(source, &error, &spans, size_span.clone()))?;
        if let Some(a_b) = a_b.filter(|a_b| *a_b.get_ref()) {
            check_slots(source, a_b.span(), project)?;
            let at_fault = |error: LayoutError| {
                let help = "Each slot has a boot partition and a root, called NAME-A and NAME-B; each needs its size twice.";
                source.error(a_b.span(), error.to_string(), "because of this").with_help(help)
            };
            layout = layout.with_slots().map_err(at_fault)?;
            layout.check().map_err(at_fault)?;
        }
        Ok(Self { compress, sbom, layout })
    }
}

/// Checks that the board's firmware reads the partition table.
fn check_table(
    source: &ManifestText,
    table: &Spanned<PartitionTable>,
    project: &Project,
) -> Result<(), ManifestError> {
    let unfit = model::models(&project.board).find(|model| !model.reads_gpt());
    match (table.get_ref(), unfit) {
        (PartitionTable::Gpt, Some(model)) => {
            let message = format!("the boot ROM of {} reads no GPT", model.title);
            let help =
                "Write `table = \"mbr\"`, or leave it out. Boards from the Raspberry Pi 4 on read a GPT.";
            Err(source.error(table.span(), message, "this table").with_help(help))
        }
        _ => Ok(()),
    }
}

/// Checks that the board's firmware tries updates by partition.
fn check_slots(source: &ManifestText, span: Range<usize>, project: &Project) -> Result<(), ManifestError> {
    match model::models(&project.board).find(|model| !model.tries_partitions()) {
        Some(model) => {
            let message = format!("the firmware of {} does not try updates by partition", model.title);
            let help = "Leave `a-b` out. Boards from the Raspberry Pi 4 on do.";
            Err(source.error(span, message, "this key").with_help(help))
        }
        None => Ok(()),
    }
}

/// Returns the error of a layout at the line that is to blame.
fn at_fault(
    source: &ManifestText,
    error: &LayoutError,
    spans: &[Range<usize>],
    size: Option<Range<usize>>,
) -> ManifestError {
    let of = |partition: Option<usize>| partition.and_then(|number| spans.get(number));
    let text = error.to_string();
    match error {
        LayoutError::Wrong { partition, .. } => {
            let span = of(*partition).or(spans.first()).cloned().or(size).unwrap_or_default();
            let help = "Each [[image.partition]] has a `label` and a `filesystem`, and a `mount` where it is mounted; one \
                        is mounted on `/`.";
            source.error(span, text, "this partition").with_help(help)
        }
        LayoutError::Full { partition, .. } => {
            let (span, label) = match of(Some(*partition)) {
                Some(span) => (span.clone(), "this partition ends beyond the image"),
                None => (size.unwrap_or_default(), "the default partitions need more"),
            };
            let help = "Give the image a larger `size`, or its partitions smaller ones.";
            source.error(span, text, label).with_help(help)
        }
        LayoutError::TooLarge { .. } => {
            let span = size.or(spans.last().cloned()).unwrap_or_default();
            source
                .error(span, text, "too large")
                .with_help("A GPT (`table = \"gpt\"`) addresses more than an MBR.")
        }
    }
}
