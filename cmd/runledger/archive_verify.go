package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/runledger/runledger/evidence"
	"github.com/runledger/runledger/internal/archive"
	"github.com/runledger/runledger/verify"
)

type archiveVerifyCmd struct {
	tenantFlag
	Path string   `arg:"" optional:"" help:"An archive: a directory, or s3://BUCKET/PREFIX. Without it the units that the deployment has on record are checked."`
	Key  []string `help:"The verifier key of a log, from its operator and not from the archive. May be given more than once." sep:"none" placeholder:"VKEY"`
	Unit string   `help:"Only this unit, by its name." placeholder:"NAME"`
}

// Help implements kong.HelpProvider.
func (archiveVerifyCmd) Help() string {
	return `Reads every object and checks it: digests, each leaf against the signed tree, each line and each Parquet column against its leaf, and that units follow one another. Of an archive that is named, no deployment is needed. Without a name it is that of the deployment: its units must be there, and be those that are on record.

    runledger archive verify /mnt/archive --key "$VKEY"
    runledger archive verify s3://evidence/acme --key "$VKEY"
    runledger archive verify --tenant acme

Exit status: 0 verified, 1 something is wrong, 4 could not check: the key of a log is missing, or there is no unit of the log of a key.`
}

// verdictArchive is the answer for machines.
type verdictArchive struct {
	Verdict verify.Verdict `json:"verdict"`
	*archive.Report
}

// Run verifies.
func (c *archiveVerifyCmd) Run(e *env) error {
	places := []archivePlace{{spec: c.Path, keys: c.Key, name: c.Unit}}
	if c.Path == "" {
		if len(c.Key) > 0 {
			return usage("--key is for an archive that is named: the deployment knows its own keys")
		}
		var err error
		if places, err = c.onRecord(e); err != nil {
			return err
		}
	} else if c.Tenant != "" {
		return usage("--tenant is for the archive of a deployment")
	} else if err := archiveInput(c.Path); err != nil {
		return err
	}
	rep := &archive.Report{Units: []archive.UnitReport{}, Findings: []archive.Finding{}}
	bar := e.progress("verify")
	for _, p := range places {
		one, err := p.check(e, bar)
		if one != nil {
			rep.Units, rep.Findings, rep.Records = append(rep.Units, one.Units...), append(rep.Findings, one.Findings...), rep.Records+one.Records
			rep.Absent = append(rep.Absent, one.Absent...)
		}
		if err != nil {
			bar.end()
			if len(rep.Findings) == 0 {
				return err
			}
			fmt.Fprintf(e.stderr, "runledger: not all was checked: %s\n", clean(err.Error())) // what was found is said all the same
			break
		}
	}
	bar.end()
	verdict := c.verdict(rep)
	if e.JSON {
		if err := e.json(verdictArchive{verdict, rep}); err != nil {
			return err
		}
	} else {
		e.screen(false).archiveReport(verdict, rep)
	}
	return result((&verify.Report{Verdict: verdict}).ExitStatus())
}

// verdict is the worst of what was found. An archive that holds nothing was not checked;
// a deployment that has archived nothing has nothing wrong.
func (c *archiveVerifyCmd) verdict(r *archive.Report) verify.Verdict {
	unsigned := func(u archive.UnitReport) bool { return !u.Signed }
	switch {
	case len(r.Findings) > 0:
		return verify.Failed
	case slices.ContainsFunc(r.Units, func(u archive.UnitReport) bool { return u.Signed && !u.OK }):
		return verify.Failed
	case slices.ContainsFunc(r.Units, unsigned), len(r.Units) == 0 && c.Path != "", len(r.Absent) > 0:
		return verify.CouldNotCheck
	}
	return verify.Verified
}

// archivePlace is an archive, and what of it is to be checked.
type archivePlace struct {
	spec string
	keys []string
	name string
	// manifests are the digests that are on record, by unit; nil: there is no record.
	manifests map[string]string
}

// onRecord returns where the units of the deployment are.
func (c *archiveVerifyCmd) onRecord(e *env) (places []archivePlace, err error) {
	return places, c.with(e, func(s *session, tenant string) error {
		list, err := s.Archives(e.ctx, tenant)
		if err != nil {
			return err
		}
		keys, err := s.Keys(e.ctx, tenant)
		if err != nil {
			return err
		}
		var vkeys []string
		for _, k := range keys.Keys {
			vkeys = append(vkeys, k.VKey)
		}
		found := c.Unit == ""
		for _, u := range list.Units {
			if c.Unit != "" && c.Unit != u.Name {
				continue
			}
			found = true
			i := slices.IndexFunc(places, func(p archivePlace) bool { return p.spec == u.Archive })
			if i < 0 {
				i = len(places)
				places = append(places, archivePlace{spec: u.Archive, keys: vkeys, name: c.Unit, manifests: map[string]string{}})
			}
			places[i].manifests[u.Name] = u.Manifest
		}
		if !found {
			return usage("--unit %s: no such unit of %s is on record (runledger archive list)", c.Unit, tenant)
		}
		return nil
	})
}

// check checks an archive. Of a deployment's, units of others that stand there too are
// left out, and those on record must be there.
func (p *archivePlace) check(e *env, bar *progress) (*archive.Report, error) {
	a, err := archive.Open(archive.Config{Spec: p.spec, Spool: os.TempDir()})
	if err != nil {
		return nil, err
	}
	names := []string{p.name}
	if p.manifests != nil {
		names = names[:0]
		for name := range p.manifests {
			names = append(names, name)
		}
		slices.Sort(names)
	}
	all := &archive.Report{}
	for i, name := range names {
		rep, err := a.Check(e.ctx, archive.CheckOptions{Keys: p.keys, Name: name, Manifest: p.manifests[name], Progress: func(done, total int) {
			bar.set(int64(i*total+done), int64(len(names)*total))
		}})
		if p.manifests != nil && errors.Is(err, evidence.ErrNotFound) {
			rep, err = &archive.Report{}, nil
		}
		if rep != nil {
			all.Units, all.Findings, all.Records = append(all.Units, rep.Units...), append(all.Findings, rep.Findings...), all.Records+rep.Records
			all.Absent = append(all.Absent, rep.Absent...)
		}
		if err != nil {
			return all, err
		}
		if p.manifests == nil {
			continue
		}
		switch want := p.manifests[name]; {
		case len(rep.Units) == 0 && len(rep.Findings) == 0:
			all.Findings = append(all.Findings, archive.Finding{Code: "E_FILE", Unit: name, Object: "manifest.json", Message: "the unit is on record, and is not there"})
		case len(rep.Units) == 1 && rep.Units[0].Manifest != "" && rep.Units[0].Manifest != want:
			all.Findings = append(all.Findings, archive.Finding{
				Code: "E_FILE", Unit: name, Object: "manifest.json", Message: "on record is " + want + ", and there is " + rep.Units[0].Manifest,
			})
		}
	}
	return all, nil
}

func (s *screen) archiveReport(verdict verify.Verdict, r *archive.Report) {
	s.printf("%s\n\n", verdict)
	for _, u := range r.Units {
		state := "ok"
		switch {
		case slices.ContainsFunc(r.Findings, func(f archive.Finding) bool { return f.Unit == u.Name }):
			state = "wrong"
		case !u.Signed:
			state = "no key"
		}
		s.printf("  %-8s %s", state, clean(u.Name))
		if u.To > 0 {
			s.printf(", %s, leaves %d to %d", clean(u.Log), u.From, u.To-1)
		}
		s.printf("\n")
	}
	s.printf("  %-8s %d\n", "records", r.Records)
	if slices.ContainsFunc(r.Units, func(u archive.UnitReport) bool { return !u.Signed }) && len(r.Findings) == 0 {
		s.printf("\nNo --key was given for a log: ask its operator for the key (runledger keys list --vkey), and not the archive.\n")
	}
	for _, origin := range r.Absent {
		s.printf("\nOf log %s, of which a key was given, no unit is there.\n", clean(origin))
	}
	for i, f := range r.Findings {
		if i == 0 {
			s.printf("\nFindings\n")
		}
		s.printf("%s", wrap("  ", clean(fmt.Sprintf("%s %s %s: %s", f.Code, f.Unit, f.Object, f.Message))))
	}
}
