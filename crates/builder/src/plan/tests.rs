use super::*;
use crate::syntax::parse;

fn planned(source: &str, target: Option<&str>) -> Result<Plan, Diagnostic> {
    plan(&parse(source).unwrap(), &Inputs { target, ..Inputs::default() })
}

fn order(source: &str, target: Option<&str>) -> Vec<usize> {
    planned(source, target).unwrap().stages.iter().map(|stage| stage.index).collect()
}

#[test]
fn stages_that_nothing_needs_are_left_out() {
    let source = "FROM a AS one\nRUN x\nFROM b AS two\nFROM c AS three\nCOPY --from=one /x /\n";
    assert_eq!(order(source, None), [0, 2]);
    assert_eq!(order(source, Some("two")), [1]);
    assert_eq!(order(source, Some("0")), [0]);
    let plan = planned(source, None).unwrap();
    assert_eq!(plan.total, 4);
    assert_eq!(plan.stages[1].first_number, 3);
}

#[test]
fn stages_are_found_by_name_number_and_mount() {
    let source = "FROM a AS One\nFROM one\nRUN --mount=type=bind,from=0,target=/x y\n";
    let plan = planned(source, None).unwrap();
    assert_eq!(plan.stages[1].base, Base::Stage(0));
    assert_eq!(plan.stages[1].needs, BTreeSet::from([0]));
    assert_eq!(plan.stages[0].base, Base::Image("a".to_owned()));
}

#[test]
fn a_stage_may_have_the_name_of_its_base() {
    let plan = planned("FROM debian AS debian\nFROM debian\n", None).unwrap();
    assert_eq!(plan.stages[0].base, Base::Image("debian".to_owned()));
    assert_eq!(plan.stages[1].base, Base::Stage(0));
}

#[test]
fn a_further_context_goes_before_a_stage() {
    let file = parse("FROM a AS x\nFROM x\nCOPY --from=x /a /b\n").unwrap();
    let contexts = Names::from([("x".to_owned(), None)]);
    let plan = plan(&file, &Inputs { contexts: contexts.clone(), ..Inputs::default() }).unwrap();
    let stages: Vec<usize> = plan.stages.iter().map(|stage| stage.index).collect();
    assert_eq!(stages, [1]);
    assert_eq!(plan.stages[0].base, Base::Context("x".to_owned()));
    assert_eq!(reference(&file, &contexts, "x", 1), Ok(Base::Context("x".to_owned())));
}

#[test]
fn mistakes_are_told() {
    for (source, part) in [
        ("FROM a AS x\nCOPY --from=x /a /b\n", "circular dependency"),
        ("FROM a\nCOPY --from=0 /a /b\n", "circular dependency"),
        ("FROM a\nCOPY --from=3 /a /b\n", "invalid from flag value 3"),
        ("FROM a\nCOPY --from=y /a /b\nFROM b AS y\nCOPY --from=0 / /\n", "begins on line 3"),
        ("FROM $NONE\n", "should not be blank"),
    ] {
        let found = planned(source, None).unwrap_err();
        assert!(found.message.contains(part), "{source}: {found:?}");
    }
    let found = planned("FROM a AS build\n", Some("biuld")).unwrap_err();
    assert_eq!(found.help.as_deref(), Some("did you mean build?"));
}

#[test]
fn global_args_take_defaults_and_values() {
    let file = parse("ARG V=1\nARG W=$V-x\nFROM a:$W\n").unwrap();
    let plan = |args: &[(&str, Option<&str>)]| {
        let build_args =
            args.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        super::plan(&file, &Inputs { build_args, ..Inputs::default() }).unwrap().stages[0]
            .base
            .clone()
    };
    assert_eq!(plan(&[]), Base::Image("a:1-x".to_owned()));
    assert_eq!(plan(&[("V", Some("2"))]), Base::Image("a:2-x".to_owned()));
    assert_eq!(plan(&[("W", None), ("V", Some("2"))]), Base::Image("a:".to_owned()));
}

#[test]
fn what_stands_on_a_stage_that_is_fresh_is_fresh() {
    let source = "FROM a AS one\nFROM One AS two\nFROM b AS three\nCOPY --from=two /x /\n\
        FROM c AS four\nFROM three\nCOPY --from=four /x /\n";
    let plan = planned(source, None).unwrap();
    let fresh = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (fresh, unknown) = super::fresh(&parse(source).unwrap(), &plan, &names);
        let unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
        (fresh.into_iter().collect::<Vec<_>>(), unknown)
    };
    assert_eq!(fresh(&["ONE"]), (vec![0, 1, 2, 4], vec![]));
    assert_eq!(fresh(&["four", "five"]), (vec![3, 4], vec!["five".to_owned()]));
    assert_eq!(fresh(&[]), (vec![], vec![]));
}
