//! Which files of a scan each worker reads.
//!
//! In:      a scan of the lake as the head planned it; how many workers share it.
//! Out:     a scan for each of them.
//! Promise: each row group is read by one of them, once. A file that belongs to a declared order is not cut, and the files of a
//!          partition stay in their order. Days that follow one another go to the same worker, where that can be.
//!
//! Why not the library's own: it cuts by bytes and deals the pieces out like cards, which mixes the days of a unit's rows; and
//! with fewer pieces than workers it refuses to plan.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedLeafExec, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse,
};

use super::codec::scan_of_lake;
use super::mark::Mark;

/// How many workers a node wants.
///
/// * `scan_bytes_min`: bytes of files for each of them.
pub(super) fn wanted_tasks(
    event: DesiredTaskCountEvent<'_>,
    scan_bytes_min: u64,
) -> Option<Result<DesiredTaskCountEventResponse>> {
    if let Some(scan) = scan_of_lake(event.plan) {
        // Of one partition the planner assumes that it holds all rows there are, and groups or sorts them without a gathering.
        if event.plan.output_partitioning().partition_count() < 2 {
            return Some(Ok(DesiredTaskCountEventResponse::maximum(1)));
        }
        let tasks = usize::try_from(bytes_of(scan) / scan_bytes_min.max(1)).unwrap_or(usize::MAX);
        return Some(Ok(DesiredTaskCountEventResponse::desired(tasks.max(1))));
    }
    Mark::is_in(event.plan).then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

pub(super) fn bytes_of(scan: &FileScanConfig) -> u64 {
    scan.file_groups.iter().flat_map(FileGroup::iter).map(PartitionedFile::effective_size).sum()
}

/// The scan for each of `event.task_count` workers.
pub(super) fn shared_out(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let scan = scan_of_lake(event.plan)?;
    if event.task_count < 2 {
        return Some(Ok(ScaleUpLeafNodeEventResponse::new(Arc::clone(event.plan))));
    }
    let scans = shares(scan, event.task_count).into_iter().map(|groups| {
        let mut own = scan.clone();
        own.file_groups = groups;
        DataSourceExec::from_data_source(own) as Arc<dyn ExecutionPlan>
    });
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), scans);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// As many groups for each as for any other; some may be empty.
fn shares(scan: &FileScanConfig, tasks: usize) -> Vec<Vec<FileGroup>> {
    let wanted = scan.file_groups.len() * tasks;
    let is_ordered = !scan.output_ordering.is_empty();
    let groups = if is_ordered {
        cut_between_files(&scan.file_groups, wanted)
    } else {
        let by_bytes = FileGroupPartitioner::new().with_target_partitions(wanted).with_repartition_file_min_size(0);
        by_bytes.repartition_file_groups(&scan.file_groups).unwrap_or_else(|| scan.file_groups.clone())
    };
    let each = groups.len().div_ceil(tasks).max(1);
    let share = |task: usize| {
        let (from, until) = (task * groups.len() / tasks, (task + 1) * groups.len() / tasks);
        let mut own = groups[from..until].to_vec();
        own.resize_with(each, || FileGroup::new(Vec::new()));
        own
    };
    (0..tasks).map(share).collect()
}

/// Each group in pieces that follow one another: a piece of what is in order is in order. As many pieces as its bytes are worth
/// of `wanted`, if it has as many files.
fn cut_between_files(groups: &[FileGroup], wanted: usize) -> Vec<FileGroup> {
    let bytes_of = |files: &[PartitionedFile]| files.iter().map(PartitionedFile::effective_size).sum::<u64>();
    let all = groups.iter().map(|group| bytes_of(group.files())).sum::<u64>().max(1);
    let mut pieces = Vec::with_capacity(wanted);
    for group in groups {
        let files = group.files();
        let own = bytes_of(files);
        let count = (u128::from(own) * wanted as u128).div_ceil(u128::from(all)) as usize;
        let count = count.clamp(1, files.len().max(1));
        let mut piece: Vec<PartitionedFile> = Vec::new();
        let (mut before, mut made) = (0, 1);
        for file in files {
            let is_full = own * made as u64 <= before * count as u64;
            if !piece.is_empty() && is_full && made < count {
                pieces.push(FileGroup::new(std::mem::take(&mut piece)));
                made += 1;
            }
            before += file.effective_size();
            piece.push(file.clone());
        }
        pieces.push(FileGroup::new(piece));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, u64)]) -> FileGroup {
        FileGroup::new(files.iter().map(|(name, bytes)| PartitionedFile::new(*name, *bytes)).collect())
    }

    fn names(groups: &[FileGroup]) -> Vec<Vec<String>> {
        let name = |file: &PartitionedFile| file.object_meta.location.to_string();
        groups.iter().map(|group| group.iter().map(name).collect()).collect()
    }

    #[test]
    fn what_is_in_order_is_cut_between_files_only() {
        let groups = [group(&[("a", 10), ("b", 10), ("c", 10), ("d", 10)]), group(&[("e", 40)])];
        let cut = cut_between_files(&groups, 4);
        assert_eq!(names(&cut), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert_eq!(names(&cut_between_files(&groups, 1)), [vec!["a", "b", "c", "d"], vec!["e"]]);
        assert_eq!(cut_between_files(&groups, 100).len(), 5);
    }

    #[test]
    fn an_empty_group_stays_one() {
        assert_eq!(names(&cut_between_files(&[group(&[])], 3)), [Vec::<String>::new()]);
    }
}
