use super::*;

const SMALL: &str = include_str!("../../scenarios/small.toml");
const PARTITION: &str = include_str!("../../scenarios/partition.toml");

fn refused(text: &str) -> String {
    Scenario::parse(text).unwrap_err().to_string()
}

#[test]
fn the_scenarios_that_come_along_are_good() {
    let day = Scenario::parse(DAY).unwrap();
    assert_eq!(
        (day.nodes, day.mediators.len(), day.provider_count()),
        (5, 2, 20)
    );
    assert_eq!(
        (day.users.count, day.standing(), day.kills()),
        (300, 290, 2)
    );
    assert_eq!((day.doomed(), day.partitions()), (Some(4), false));
    assert!(!Scenario::parse(SMALL).unwrap().faults.is_empty());
    let partition = Scenario::parse(PARTITION).unwrap();
    assert!(partition.partitions());
    assert_eq!(partition.faults[0].act, Act::Partition(vec![3, 4]));
    assert_eq!(partition.faults[0].at, At::Admitted(12));
}

#[test]
fn what_no_scenario_has_is_refused_with_its_line() {
    let said = refused(&SMALL.replace("patience", "patients"));
    assert!(
        said.contains("unknown field `patients`") && said.contains("line"),
        "{said}"
    );
    let said = refused(&SMALL.replace("do = \"kill\"", "do = \"dance\""));
    assert!(
        said.contains("unknown variant `dance`") && said.contains("`kill`"),
        "{said}"
    );
    let said = refused(&SMALL.replace("holding = 1", "sitting = 1"));
    assert!(said.contains("unknown variant `sitting`"), "{said}");
}

#[test]
fn numbers_that_do_not_fit_are_said() {
    for (from, to, expected) in [
        (
            "nodes = 3",
            "nodes = 0",
            "federation.nodes is 0: it must be from 1 to 64",
        ),
        (
            "node = 3",
            "node = 4",
            "fault 1: there is no node of that number",
        ),
        ("node = 3", "", "fault 1: it needs `node = N`"),
        (
            "in_revoked_group = 8",
            "in_revoked_group = 14",
            "14 users of a group share 13 slots",
        ),
        (
            "count = 20",
            "count = 80",
            "72 users of a group share 26 slots",
        ),
        (
            "cancel = 1\n",
            "cancel = 11\n",
            "16 users do something besides booking, and only 12 may",
        ),
        ("slots = 13", "slots = 65", "providers.slots is 65"),
        (
            "slots = 13",
            "slots = 12",
            "need fewer users in the last group than each of its providers has slots",
        ),
        (
            "do = \"kill\"\nnode = 3",
            "do = \"pause\"\nnode = 3",
            "users.at_killed needs a fault",
        ),
    ] {
        let text = SMALL.replace(from, to);
        assert_ne!(text, SMALL, "{from}");
        let said = refused(&text);
        assert!(said.contains(expected), "{said}");
    }
    for nodes in ["[]", "[1, 2, 3, 4, 5]", "[6]"] {
        let text = PARTITION.replace("nodes = [4, 5]", &format!("nodes = {nodes}"));
        assert!(refused(&text).starts_with("fault 1: "));
    }
}
