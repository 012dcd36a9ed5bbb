package ledger_test
import ("testing";"time";"path/filepath";"github.com/runledger/runledger/internal/ledger";"context")
func TestZZTiming(t *testing.T){
 for range 3 {
 s:=time.Now(); dir:=filepath.Join(t.TempDir(),"data"); r:=openRig(t,dir); t.Log("open",time.Since(s)); s=time.Now()
 r.tenant(t,"acme"); t.Log("tenant",time.Since(s)); s=time.Now()
 r.append(t,"acme",step(1,1,"")); t.Log("append",time.Since(s)); s=time.Now()
 rep,err:=ledger.Verify(context.Background(),ledger.LiveConfig{Reader:r.db,Sealer:r.sealer,Anchor:r.anchor}); t.Log("verify",time.Since(s),rep.OK(),err); s=time.Now()
 r.close(); t.Log("close",time.Since(s)); s=time.Now()
 r=openRig(t,dir); t.Log("reopen",time.Since(s))
 }}
