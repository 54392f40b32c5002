use super::*;
use crate::package_list::tests::paragraph;

/// Makes an index of `(name, version, fields)`, with the apt that every system has.
fn index(list: &[(&str, &str, &str)]) -> Packages {
    let mut text: String = list.iter().map(|(name, version, more)| paragraph(name, version, more)).collect();
    text += &paragraph("apt", "3.0", "");
    let mut packages = Packages::default();
    packages.add(text.as_bytes(), 0).unwrap();
    packages
}

fn names(list: &[&Package]) -> Vec<String> {
    list.iter().map(|package| package.name.clone()).collect()
}

const SH: (&str, &str, &str) = ("sh", "1", "Essential: yes\n");

#[test]
fn essential_required_apt_included_and_their_dependencies_are_chosen() {
    let packages = index(&[
        ("sh", "1", "Essential: yes\nPre-Depends: libc (>= 2)\n"),
        ("base-files", "1", "Essential: yes\n"),
        ("libc", "2.1", ""),
        ("mount", "1", "Priority: required\nDepends: libmount (= 1), libc\n"),
        ("libmount", "1", ""),
        ("certs", "1", "Depends: ssl\n"),
        ("ssl", "1", "Recommends: unused\n"),
        ("unused", "1", ""),
    ]);
    let chosen = minimal(&packages, &["certs".to_owned()]).unwrap();
    assert_eq!(names(&chosen.essential), ["base-files", "libc", "sh"]);
    assert_eq!(names(&chosen.rest), ["apt", "ssl", "certs", "libmount", "mount"]);
    assert_eq!(chosen.essential.len() + chosen.rest.len(), 8);
}

#[test]
fn an_alternative_that_is_there_already_wins_else_the_first_that_can_be_had() {
    let packages = index(&[
        ("sh", "1", "Essential: yes\nDepends: big | small, gone | here, old (>> 1) | new\n"),
        ("big", "1", ""),
        ("small", "1", "Priority: required\n"),
        ("here", "1", ""),
        ("old", "1", ""),
        ("new", "1", ""),
    ]);
    let chosen = minimal(&packages, &[]).unwrap();
    assert_eq!(names(&chosen.essential), ["small", "here", "new", "sh"]);
}

#[test]
fn no_converter_is_chosen_for_a_tree_that_is_merged_already() {
    let packages = index(&[
        ("sh", "1", "Essential: yes\nDepends: usrmerge | usr-is-merged\n"),
        ("usrmerge", "1", "Depends: perl\n"),
        ("usr-is-merged", "1", ""),
    ]);
    assert_eq!(names(&minimal(&packages, &[]).unwrap().essential), ["usr-is-merged", "sh"]);
}

#[test]
fn virtual_packages_are_provided() {
    let packages = index(&[
        ("sh", "1", "Essential: yes\nPre-Depends: awk\nDepends: api (>= 2), lib:any\n"),
        ("gawk", "1", "Provides: awk\nPriority: optional\n"),
        ("mawk", "1", "Provides: awk\nPriority: standard\n"),
        ("a-old", "1", "Provides: api (= 1), x\n"),
        ("b-bare", "1", "Provides: api\n"),
        ("c-new", "1", "Provides: x, api (= 2.1)\n"),
        ("lib", "1", ""),
    ]);
    let chosen = minimal(&packages, &[]).unwrap();
    assert_eq!(names(&chosen.essential), ["mawk", "c-new", "lib", "sh"]);
}

#[test]
fn cycles_are_ordered_and_the_result_does_not_depend_on_the_indexes_order() {
    let mut list = [
        ("libc", "2", "Depends: libgcc\n"),
        ("libgcc", "1", "Depends: libc\n"),
        SH,
        ("x", "1", "Essential: yes\nDepends: libgcc\n"),
    ];
    let forward = names(&minimal(&index(&list), &[]).unwrap().essential);
    list.reverse();
    let backward = names(&minimal(&index(&list), &[]).unwrap().essential);
    assert_eq!(forward, ["sh", "libc", "libgcc", "x"]);
    assert_eq!(forward, backward);
}

#[test]
fn what_does_not_add_up_is_named() {
    let problem = |list: &[_], include: &[String]| minimal(&index(list), include).unwrap_err();
    assert!(problem(&[], &[]).contains("no essential packages"));
    let text = problem(&[("sh", "1", "Essential: yes\nDepends: a (>= 2) | b\n"), ("a", "1", "")], &[]);
    assert!(text.contains("`sh` needs `a (>= 2) | b`"), "{text}");
    let text = problem(&[SH], &["nosuch".to_owned()]);
    assert!(text.contains("no package `nosuch`") && text.contains("project includes"), "{text}");
}

#[test]
fn relations_are_read() {
    let all: Vec<Vec<String>> = clauses("a (>= 1:2-3) | b:any ,\nc(<<4), , d [arm64]")
        .map(|clause| clause.iter().map(ToString::to_string).collect())
        .collect();
    assert_eq!(all[..2], [vec!["a (>= 1:2-3)", "b"], vec!["c (<< 4)"]]);
}
