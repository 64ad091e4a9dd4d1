use super::*;

/// What `text` becomes, and which variables were missed.
fn filled(text: &str) -> Result<(String, Vec<String>), Reason> {
    let variables = Variables::from([
        ("SET".to_owned(), "set".to_owned()),
        ("EMPTY".to_owned(), String::new()),
        ("DOLLAR".to_owned(), "$SET".to_owned()),
    ]);
    let mut unset = BTreeSet::new();
    let mut filling = Filling {
        variables: &variables,
        budget: &mut Budget::default(),
        unset: &mut unset,
    };
    let text = filling.fill(text)?;
    Ok((text, unset.into_iter().collect()))
}

#[test]
fn every_form_is_filled_in_as_compose_does() {
    for (text, wanted) in [
        ("a", "a"),
        ("$SET-x", "set-x"),
        ("${SET}$SET", "setset"),
        ("$SET}", "set}"),
        ("$$SET", "$SET"),
        ("a$", "a$"),
        ("$1", "$1"),
        ("$-", "$-"),
        ("$DOLLAR", "$SET"),
        ("${NONE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}x", "x"),
        ("${SET:-d}", "set"),
        ("${NONE-b:-c}", "b:-c"),
        ("${NONE:-b?c}", "b?c"),
        ("${NONE:-{x}}", "{x}"),
        ("${NONE-{b}c", "{bc"),
        ("${NONE:-a}b}c", "ab}c"),
        ("${NONE:-$$x}", "$x"),
        ("${NONE:-}${NONE:-z}", "z"),
        ("${NONE:-${NONE:-${SET}}}z", "setz"),
        ("${SET:?no}", "set"),
        ("${EMPTY?no}x", "x"),
        ("${SET:+r}${EMPTY:+r}${EMPTY+r}${NONE+r}", "rr"),
    ] {
        let (found, unset) = filled(text).unwrap();
        assert_eq!(found, wanted, "{text}");
        assert!(unset.is_empty(), "{text}: {unset:?}");
    }
    let (found, unset) = filled("$NONE/${OTHER}/${SET:-$THIRD}").unwrap();
    assert_eq!(found, "//set");
    assert_eq!(unset, ["NONE", "OTHER", "THIRD"]);
}

#[test]
fn what_is_no_template_is_an_error_that_does_not_repeat_it() {
    for text in [
        "secret${",
        "secret${}",
        "secret${A",
        "${A!secret}",
        "${ A}",
        "${1}",
        "${A:}",
        "${é}",
    ] {
        let error = filled(text).unwrap_err();
        assert!(matches!(error, Reason::Template), "{text}: {error}");
        assert!(!error.to_string().contains("secret"));
    }
    let error = filled("${EMPTY:?give ${SET}}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the variable `EMPTY` must be set: give set"
    );
    let error = filled("${NONE?}").unwrap_err();
    assert_eq!(error.to_string(), "the variable `NONE` must be set");
    assert!(filled("${SET:-${NONE:?needed by nobody}}").is_err());
}
