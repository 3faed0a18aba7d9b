// Many threads that change files and start programs at once.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

func work(number int) (wrong int) {
	runtime.LockOSThread()
	dir := fmt.Sprintf("/tmp/go/%d/a/b", number)
	check := func(err error) {
		if err != nil {
			wrong++
		}
	}
	check(os.MkdirAll(dir, 0o750))
	for i := 0; i < 50; i++ {
		name := filepath.Join(dir, fmt.Sprint(i))
		check(os.WriteFile(name, []byte(name), 0o640))
		check(os.Lchown(name, number, i))
		check(os.Rename(name, name+"x"))
		info, err := os.Stat(name + "x")
		check(err)
		if err == nil && info.Sys().(*syscall.Stat_t).Gid != uint32(i) {
			wrong++
		}
		check(os.Symlink(name+"x", name))
		data, err := os.ReadFile(name)
		check(err)
		if string(data) != name {
			wrong++
		}
	}
	if out, err := exec.Command("sh", "-c", "id -u").Output(); err != nil || string(out) != "0\n" {
		wrong++
	}
	as := exec.Command("id", "-u")
	as.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 701, Gid: 700}}
	if out, err := as.Output(); err != nil || string(out) != "701\n" {
		wrong++
	}
	return wrong
}

func main() {
	var wait sync.WaitGroup
	var lock sync.Mutex
	total := 0
	for i := 1; i <= 24; i++ {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			wrong := work(i)
			lock.Lock()
			total += wrong
			lock.Unlock()
		}(i)
	}
	wait.Wait()
	files := 0
	filepath.WalkDir("/tmp/go", func(string, os.DirEntry, error) error { files++; return nil })
	one, err := user.Lookup("one")
	fmt.Println("wrong", total, "files", files, one.Uid, err)
	fmt.Println(os.RemoveAll("/tmp/go"), syscall.Getuid())
}
