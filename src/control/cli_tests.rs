//! What the command line takes.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn selections() {
    let line = "impartctl queue remove --domain b.example --older-than 5m --state deferred 0000000001";
    let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
    let Command::Queue(Queue::Remove(which)) = arguments.command else { panic!("not remove") };
    let selector = which.selector(|age| if age == "5m" { Ok(300) } else { Err(()) }).unwrap();
    assert_eq!((selector.older_than, selector.ids), (Some(300), vec![QueueId(1)]));
    assert_eq!(selector.state, Some(MessageState::Deferred));
    let arguments = Arguments::try_parse_from(["impartctl", "queue", "retry"]).unwrap();
    let Command::Queue(Queue::Retry(which)) = arguments.command else { panic!("not retry") };
    assert!(which.selector(|_| Err(())).unwrap().is_empty());
    assert!(Arguments::try_parse_from(["impartctl", "queue", "show", "x"]).is_err());
}
